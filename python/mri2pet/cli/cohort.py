"""`mri2pet cohort`: who and what is in a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mri2pet.cli.options import Cache

Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="SUFFIX:ENTITY=LABEL[,LABEL]",
        help="Only such images of BIDS trees, as T1w:acq=mprage or pet:rec=coregiso6; can be "
        "repeated.",
    ),
]
UseContrast = Annotated[
    bool,
    typer.Option("--use-contrast", help="Take T1s of BIDS trees with contrast agent (ce-) too."),
]
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
    filters: Filters = None,
    use_contrast: UseContrast = False,
    split_by_scan: Annotated[
        bool, typer.Option("--split-by-scan", help="As in the paper: a person may train and test.")
    ] = False,
    pseudonyms: Annotated[
        Path | None,
        typer.Option(metavar="KEY.tsv", help="Of cohort import: split as without pseudonyms."),
    ] = None,
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
    manifest = build_manifest(data, split_by=by, pseudonyms=pseudonyms, **options)
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


@cohort.command("import")
def import_(
    study: Annotated[str, typer.Argument(metavar="adni|ppmi|ukb|bids", show_default=False)],
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Folders and zips.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The BIDS tree to make.")],
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Clinical tables, at any depth.")
    ] = None,
    collection: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="List of images; default: every one that is found."),
    ] = None,
    pet_step: Annotated[
        str,
        typer.Option(
            metavar="STEP[,STEP]",
            help="raw, dynamic, averaged, standard, 8mm or 6mm; several mix by preference.",
        ),
    ] = "",
    t1: Annotated[
        str,
        typer.Option(
            metavar="processed|original",
            help="Which T1s go first. ADNI and PPMI: processed if not given. BIDS trees: processed "
            "puts rec-norm before all. UK Biobank has one T1 a visit.",
        ),
    ] = "",
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link NIfTI files that need no change.")
    ] = False,
    dates: Annotated[
        str, typer.Option(metavar="real|days", help="days: since each person's baseline only.")
    ] = "real",
    withdrawn: Annotated[
        str, typer.Option(metavar="FILE|none", help="People who must not be used, one id a line.")
    ] = "",
    subjects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only these people, one id a line.")
    ] = None,
    pseudonyms: Annotated[
        Path | None, typer.Option(metavar="KEY.tsv", help="Name people sub-0001 …; kept there.")
    ] = None,
    filters: Filters = None,
    use_contrast: UseContrast = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes that convert.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="All decisions and their table, no image.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make a BIDS tree of downloads of ADNI, PPMI or UK Biobank, or of other BIDS trees.

    sourcedata/import.tsv in it says of every image whether it was taken, and why.
    """
    from mri2pet.cli.progress import ImportBar
    from mri2pet.cohort.importing.options import ImportOptions
    from mri2pet.cohort.importing.run import import_cohort
    from mri2pet.errors import UsageError

    if dates not in ("real", "days"):
        raise UsageError(f"--dates {dates!r} is none of real, days")
    options = ImportOptions(
        tables=tables,
        collection=tuple(collection or ()),
        pet_steps=tuple(part.strip() for part in pet_step.split(",") if part.strip()),
        t1=t1,
        link=link,
        days=dates == "days",
        withdrawn=Path(withdrawn) if withdrawn not in ("", "none") else None,
        no_withdrawn=withdrawn == "none",
        subjects=subjects,
        pseudonyms=pseudonyms,
        filters=tuple(filters or ()),
        use_contrast=use_contrast,
        jobs=jobs,
        dry_run=dry_run,
    )
    with ImportBar(quiet=quiet) as bar:
        done = import_cohort(study, sources, out, options, progress=bar.update)
    for line in done.lines:
        typer.echo(line, err=line.startswith("note"))
    if done.exit_code:
        raise typer.Exit(done.exit_code)


@cohort.command("check-suvr")
def check_suvr(
    table_of_cohort: Annotated[
        Path, typer.Argument(metavar="COHORT.tsv", help="Of cohort build.", show_default=False)
    ],
    table: Annotated[
        Path, typer.Option(metavar="CSV", help="UCBERKELEY_AMY_6MM_… or UCBERKELEYAV45_….")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare our cortical SUVR of an imported ADNI cohort with the published one."""
    from mri2pet.cli.options import SOME_FAILED
    from mri2pet.cli.progress import CohortBars
    from mri2pet.quantification.published import check_suvr as run

    with CohortBars("measuring PETs", quiet=quiet) as bars:

        def told(done: int, of: int, name: str, error: str | None) -> None:
            bars.event("measure", {"done": done, "of": of, "name": name, "error": error})

        checked = run(table_of_cohort, table, out, on_scan=told)
    for line in checked.lines:
        typer.echo(line, err=line.startswith("warning"))
    if checked.failures:
        raise typer.Exit(SOME_FAILED)


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
