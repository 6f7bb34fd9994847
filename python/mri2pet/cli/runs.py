"""`mri2pet runs`: what became of training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def runs(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
) -> None:
    """Summarise training runs: stage, how far, losses, speed."""
    from mri2pet.training.summary import summarise_run, table

    typer.echo(table([summarise_run(folder) for folder in folders]))
