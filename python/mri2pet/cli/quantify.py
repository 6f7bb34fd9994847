"""`mri2pet quantify`: a table of regional SUVR of measured and synthetic PETs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri2pet.cli.options import (
    SOME_FAILED,
    AtlasFile,
    AtlasNames,
    CentiloidName,
    Quiet,
    ReferenceVoi,
    TargetVoi,
    ThresholdText,
)


def quantify(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="PET... | RESULTS",
            help="PET images in template space or with their --t1, or folders of preprocess "
            "--pet or of synthesize.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="TABLE.tsv", help="The table; JSON goes beside it."),
    ],
    t1: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="The T1 of a PET image; once for each, in the same order."
        ),
    ] = None,
    atlas: AtlasFile = None,
    labels: AtlasNames = None,
    target: TargetVoi = None,
    reference: ReferenceVoi = None,
    centiloid: CentiloidName = None,
    threshold: ThresholdText = None,
    quiet: Quiet = False,
) -> None:
    """Measure the SUVR of a cortical composite and of an atlas's regions.

    Of synthetic PETs, the spread over the samples too. Research use only: no number here is a
    diagnosis, and Centiloid values say themselves that they are not calibrated.
    """
    from mri2pet.quantification import Quantification
    from mri2pet.quantification import quantify as run

    def on_stage(name: str, seconds: float | None) -> None:
        if seconds is not None and not quiet:
            typer.echo(f"{name}: {seconds:.1f} s", err=True)

    what = Quantification.of(
        atlas=atlas,
        labels=labels,
        target=target,
        reference=reference,
        centiloid=centiloid,
        threshold=threshold,
    )
    done = run(inputs, out, what, t1=t1 or (), on_stage=on_stage)
    for name, reason in done.failures.items():
        typer.echo(f"{name}: {reason}", err=True)
    if not quiet:
        typer.echo(f"written to {done.table} and {done.description.name}")
    if done.failures:
        raise typer.Exit(SOME_FAILED)
