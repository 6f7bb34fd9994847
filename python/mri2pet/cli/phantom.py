"""`mri2pet phantom`: a simulated study, for trying, testing and training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the study (BIDS).", show_default=False)],
    pairs: Annotated[int, typer.Option(help="People with MRI and PET.")] = 24,
    unpaired: Annotated[int, typer.Option(help="People with MRI only.")] = 0,
    seed: Annotated[int, typer.Option(help="Names the cohort: same seed, same files.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors alone.")] = False,
) -> None:
    """Simulate a study: T1 MRI, AV45 PET, tables and the truth, offline, from one seed.

    Nobody was scanned. The same command goes on where it was stopped.
    """
    from mri2pet.cohort.phantom import make_cohort

    if quiet or not sys.stderr.isatty():
        make_cohort(out, pairs=pairs, unpaired=unpaired, seed=seed, jobs=jobs)
    else:
        _with_bar(out, pairs, unpaired, seed, jobs)
    if not quiet:
        typer.echo(f"{pairs + unpaired} simulated people in {out}")


def _with_bar(out: Path, pairs: int, unpaired: int, seed: int, jobs: int) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from mri2pet.cohort.phantom import make_cohort

    columns = (
        TextColumn("people"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("people", total=None)
        make_cohort(
            out,
            pairs=pairs,
            unpaired=unpaired,
            seed=seed,
            jobs=jobs,
            on_subject=lambda _, done, total: progress.update(task, completed=done, total=total),
        )
