"""`mri2pet dicom`: what has to do with DICOM alone."""

from __future__ import annotations

import typer

from mri2pet import WARNING
from mri2pet.cli.dicom_list import list_series
from mri2pet.cli.dicom_node import jobs, listen, send
from mri2pet.cli.dicom_write import module, synthesize, write

dicom = typer.Typer(
    help=f"From DICOM to DICOM: a T1 series in, a synthetic PET in its study out.\n\n{WARNING}",
    no_args_is_help=True,
)
dicom.command("list")(list_series)
for command in (synthesize, write, module, send, listen, jobs):
    dicom.command()(command)
