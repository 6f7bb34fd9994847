"""`mri2pet cohort`: who and what is in a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mri2pet.cli.options import Cache

cohort = typer.Typer(help="Find the scans of a cohort, pair them and split them.")


@cohort.command("build")
def build(
    data: Annotated[Path, typer.Argument(help="The cohort, a BIDS folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write, *.tsv.")],
    seed: Annotated[int, typer.Option(help="Names the split.")] = 0,
    fractions: Annotated[
        str, typer.Option(metavar="TRAIN,VAL,TEST", help="Shares of the splits.")
    ] = "0.81,0.09,0.1",
    max_days: Annotated[float, typer.Option(help="Days between the MRI and PET of a pair.")] = 365,
    label_days: Annotated[
        float, typer.Option(help="Days between the MRI and the visit of its diagnosis and MMSE.")
    ] = 183,
    label_columns: Annotated[
        str, typer.Option(metavar="diagnosis=COLUMN,mmse=COLUMN", help="Where the labels stand.")
    ] = "",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="SUFFIX:ENTITY=LABEL[,LABEL]",
            help="Only such images, as T1w:acq=mprage or pet:rec=coregiso6; can be repeated.",
        ),
    ] = None,
    use_contrast: Annotated[
        bool, typer.Option("--use-contrast", help="Take T1s with contrast agent (ce-) too.")
    ] = False,
    split_by_scan: Annotated[
        bool, typer.Option("--split-by-scan", help="As in the paper: a person may train and test.")
    ] = False,
) -> None:
    """Pair MRIs with PETs, add diagnosis and MMSE, split by person, and write the table."""
    from mri2pet.cohort.labels import label_columns as read_label_columns
    from mri2pet.cohort.manifest import build_manifest, passed_over_table, write_cohort

    shares = _shares(fractions)
    options: dict[str, Any] = {
        "seed": seed,
        "fractions": shares,
        "max_days": max_days,
        "filters": filters or [],
        "use_contrast": use_contrast,
        "label_days": label_days,
        "label_columns": read_label_columns(label_columns),
    }
    by = "scan" if split_by_scan else "subject"
    manifest = build_manifest(data, split_by=by, **options)
    record = write_cohort(manifest, out, **options)
    for line in manifest.summary(passed_over_table(out)):
        typer.echo(line, err=line.startswith("warning"))
    _show(record)
    typer.echo(f"written to {out}")


@cohort.command("stats")
def stats(
    cohorts: Annotated[
        list[Path], typer.Argument(metavar="COHORT...", help="BIDS folders, or tables of build.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tables.")],
    cache: Cache = None,
) -> None:
    """Count MRIs, people, ages, diagnoses and MMSE by split: the paper's Tables 4 and 5."""
    from mri2pet.evaluation.cohort_tables import cohort_tables

    made = cohort_tables(cohorts, out, cache=cache)
    typer.echo(made.text)
    typer.echo(f"written to {out}")


def _show(record: dict[str, Any]) -> None:
    """Who is where."""
    typer.echo(f"{'split':<6} {'people':>7} {'pairs':>7} {'MRIs alone':>11}")
    for split, counts in record["splits"].items():
        typer.echo(
            f"{split:<6} {counts['people']:>7} {counts['pairs']:>7} {counts['unpaired']:>11}"
        )
    if record["split_by"] == "scan":
        typer.echo(
            f"warning: {record['people_in_several_splits']} people are in more than one split, so "
            "figures of the test split will be too good; use this to compare with the paper alone",
            err=True,
        )


def _shares(text: str) -> tuple[float, float, float]:
    from mri2pet.errors import UsageError

    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--fractions {text!r} must be three numbers, e.g. 0.8,0.1,0.1") from None
    return train, val, test
