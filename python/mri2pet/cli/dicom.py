"""`mri2pet dicom`: DICOM in, DICOM out."""

from __future__ import annotations

import typer

from mri2pet.cli.dicom_node import jobs, listen, send

dicom = typer.Typer(help="DICOM in, DICOM out.", no_args_is_help=True, rich_markup_mode="markdown")
for command in (send, listen, jobs):
    dicom.command()(command)
