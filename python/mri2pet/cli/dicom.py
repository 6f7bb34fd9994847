"""`mri2pet dicom`: T1 series in, synthetic PET out, all in DICOM."""

from __future__ import annotations

import typer

from mri2pet import WARNING
from mri2pet.cli.dicom_write import module, synthesize, write

dicom = typer.Typer(
    help=f"From DICOM to DICOM: a T1 series in, a synthetic PET in its study out.\n\n{WARNING}",
    no_args_is_help=True,
)
for _command in (synthesize, write, module):
    dicom.command(_command.__name__)(_command)
