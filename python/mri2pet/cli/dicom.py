"""`mri2pet dicom`: what has to do with DICOM alone."""

from __future__ import annotations

import typer

from mri2pet.cli.dicom_list import list_series

dicom = typer.Typer(help="Look into DICOM folders and archives.")
dicom.command("list")(list_series)
