"""`mri2pet dicom list`: the series of a DICOM folder, and which of them is the T1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def list_series(
    path: Annotated[
        Path, typer.Argument(metavar="IN", help="Folder, zip archive or file.", show_default=False)
    ],
    show_patient: Annotated[
        bool, typer.Option("--show-patient", help="Also name, id, birth date and study date.")
    ] = False,
) -> None:
    """List the series of a DICOM folder, zip archive or file, and say which one is the T1.

    Only headers are read, and no patient data is shown unless asked for; a description is what
    the scanner's operator typed. The number is what `--series` takes.
    """
    from mri2pet.dicom.listing import listing

    table, sentence = listing(path, show_patient=show_patient)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
    typer.echo()
    typer.echo(sentence)
