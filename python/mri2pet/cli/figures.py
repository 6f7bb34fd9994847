"""`mri2pet figures`: the paper's Figures 2, 3a, 3b and 4 of evaluated people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mri2pet.cli.options import Cache

figures = typer.Typer(help="Pictures of evaluated people, chosen by rules, on one scale.")

Cohort = Annotated[Path, typer.Argument(help="The cohort that was evaluated.")]
More = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[OUT...]", help="Further evaluations, as after --evaluations."),
]
Evaluations = Annotated[
    list[Path],
    typer.Option("--evaluations", metavar="OUT...", help="Folders of mri2pet evaluate."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The picture, *.png.")]
Subjects = Annotated[
    str, typer.Option(metavar="SUBJECT[,SUBJECT]", help="These people instead of the rule's.")
]
AsPaper = Annotated[
    bool, typer.Option("--as-paper", help="Each PET from its own least to its greatest value.")
]


@figures.command("grid")
def grid(
    cohort: Cohort,
    evaluations: Evaluations,
    out: Out,
    more: More = None,
    people: Annotated[int, typer.Option(help="How many people.")] = 5,
    seed: Annotated[int, typer.Option(help="Names the choice of people.")] = 0,
    subjects: Subjects = "",
    as_paper: AsPaper = False,
    cache: Cache = None,
) -> None:
    """Figure 2: people at random, MRI, measured PET and the PET of every model."""
    options = {"people": people, "seed": seed, "as_paper": as_paper, "cache": cache}
    _draw("grid", cohort, [*evaluations, *(more or ())], out, subjects, options)


@figures.command("cases")
def cases(
    cohort: Cohort,
    evaluations: Evaluations,
    out: Out,
    more: More = None,
    people: Annotated[int, typer.Option(help="How many people.")] = 3,
    subjects: Subjects = "",
    as_paper: AsPaper = False,
    cache: Cache = None,
) -> None:
    """Figure 3a: people with AD and the most atrophy, MRI, measured and synthetic PET."""
    options = {"people": people, "as_paper": as_paper, "cache": cache}
    _draw("cases", cohort, [*evaluations, *(more or ())], out, subjects, options)


@figures.command("longitudinal")
def longitudinal(
    cohort: Cohort,
    evaluations: Evaluations,
    out: Out,
    more: More = None,
    people: Annotated[int, typer.Option(help="How many people.")] = 2,
    subjects: Subjects = "",
    as_paper: AsPaper = False,
    cache: Cache = None,
) -> None:
    """Figure 3b: two visits of people whose atrophy grows most."""
    options = {"people": people, "as_paper": as_paper, "cache": cache}
    _draw("longitudinal", cohort, [*evaluations, *(more or ())], out, subjects, options)


@figures.command("decay")
def decay(
    cohort: Cohort,
    evaluations: Evaluations,
    out: Out,
    more: More = None,
    subjects: Subjects = "",
    as_paper: AsPaper = False,
    cache: Cache = None,
) -> None:
    """Figure 4: all scans with AD, sorted by atrophy, and whether sharpness goes with it."""
    options = {"as_paper": as_paper, "cache": cache}
    _draw("decay", cohort, [*evaluations, *(more or ())], out, subjects, options)


def _draw(
    kind: str,
    cohort: Path,
    evaluations: list[Path],
    out: Path,
    subjects: str,
    options: dict[str, Any],
) -> None:
    from mri2pet.evaluation import cohort_figures

    names = [name.strip() for name in subjects.split(",") if name.strip()]
    draw = getattr(cohort_figures, f"draw_{kind}")
    drawn = draw(cohort, evaluations, out, subjects=names, **options)
    typer.echo(drawn.text)
    typer.echo(f"written to {drawn.path} and {drawn.table}")
