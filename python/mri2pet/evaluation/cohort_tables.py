"""The paper's Tables 4 and 5 of any cohorts: how many MRIs, and who is in which split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri2pet.cohort.made_caches import made_caches
from mri2pet.cohort.manifest import Manifest, ManifestRow, load_manifest
from mri2pet.cohort.splits import SPLITS
from mri2pet.cohort.statistics import SplitStatistics, Spread, split_statistics
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.evaluation.layout import Cell, Column, Row, Table, markdown
from mri2pet.evaluation.printed import paper_table
from mri2pet.evaluation.table_files import write_table
from mri2pet.imaging.suvr.reference import CEREBELLUM
from mri2pet.imaging.suvr.regions import cortical_suvr

TITLES = dict(zip(SPLITS, ("Train", "Validation", "Test"), strict=True))
NOTES = [
    "People are counted once in a split, at their first MRI with a PET there; age, diagnosis and "
    "MMSE are those of that visit. ± is the standard deviation over people (n − 1); in brackets "
    "stand the least and the greatest value. Shares are of the people whose sex is known.",
    "All PETs are of AV45 (florbetapir).",
    "The paper's own figures are of ADNI. Its CN, MCI and AD do not add up to its patients, and "
    "its splits are of scans, so a person can be in several.",
]


@dataclass(frozen=True)
class CohortTables:
    """What `cohort_tables` made: the tables as Markdown, and their files."""

    text: str
    files: list[Path]


def cohort_tables(
    cohorts: Sequence[str | Path], out: str | Path, *, cache: str | Path | None = None
) -> CohortTables:
    """Writes `OUT/table4` and `OUT/table5` as .md, .tex and .csv.

    Of several cohorts each that has pairs gets a `table5_NAME` of its own. Cortical SUVR is given
    for PETs that are in model space already; none is prepared.

    Args:
        cohorts: BIDS folders, or tables of `mri2pet cohort build`.
        cache: where the cohorts in model space are kept (default: beside each).

    Raises:
        InputError: no cohort there. UsageError: two of one name.
        Mri2petError: `out` cannot be written.
    """
    names = [_name(Path(cohort)) for cohort in cohorts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two cohorts have the same name ({', '.join(twice)}); rename one")
    manifests = {n: load_manifest(cohort) for n, cohort in zip(names, cohorts, strict=True)}
    tables = {"table4": table4(manifests)}
    paired = {name: m for name, m in manifests.items() if m.select()}
    for name, manifest in paired.items():
        file = "table5" if len(manifests) == 1 else f"table5_{name}"
        tables[file] = table5(name, manifest, cache)
    try:
        files = [f for file, table in tables.items() for f in write_table(Path(out) / file, table)]
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error
    return CohortTables("\n".join(map(markdown, tables.values())), files)


def _name(path: Path) -> str:
    path = path.resolve()
    return path.stem if path.suffix == ".tsv" else path.name


def table4(manifests: dict[str, Manifest]) -> Table:
    """MRIs, people and pairs of each cohort, a column each."""
    columns = [Column(name, name, 0) for name in manifests]
    numbers: dict[str, Callable[[Manifest], int]] = {
        "MRIs": len,
        "people": lambda m: len({row.subject for row in m}),
        "MRIs with a PET": lambda m: len(m.select()),
        "MRIs of people in test": lambda m: len(m.select("test", paired=False)),
    }
    rows = [
        Row(text, {name: Cell(count(m)) for name, m in manifests.items()})
        for text, count in numbers.items()
    ]
    if len(manifests) > 1:
        columns.append(Column("all", "all", 0))
        for row in rows:
            row.cells["all"] = Cell(sum(cell.value for cell in row.cells.values()))
    each = paper_table("table4")
    total = sum(each.values())
    paper = ", ".join(f"{name} {count:,}" for name, count in each.items())
    return Table("MRIs by data set", columns, rows, [f"The paper: {paper}, together {total:,}."])


def table5(name: str, manifest: Manifest, cache: str | Path | None = None) -> Table:
    """Who is in which split, with the paper's own figures beside."""
    suvr_of, note = _suvr(manifest, cache)
    found = split_statistics(manifest, suvr_of)
    columns = [Column(split, title, 2) for split, title in TITLES.items()]
    columns += [Column(f"paper.{s}", f"{title}, the paper's own", 2) for s, title in TITLES.items()]
    rows: dict[str, dict[str, Cell]] = {}
    for split, statistics in found.items():
        for text, cell in _lines(statistics).items():
            rows.setdefault(text, {})[split] = cell
    for text, printed in paper_table("table5").items():
        for split, (value, error) in zip(SPLITS, printed, strict=True):
            digits = rows[text][split].digits
            error = math.nan if error is None else error
            rows[text][f"paper.{split}"] = Cell(value, plus_minus=error, digits=digits)
    by = "scan, so figures of the test split are too good" if manifest.split_by == "scan" else None
    notes = [f"Split by {by or 'person'}.", *NOTES, note]
    return Table(f"People of {name}", columns, [Row(t, cells) for t, cells in rows.items()], notes)


def _lines(of: SplitStatistics) -> dict[str, Cell]:
    known = of.male + of.female
    return {
        "PET scans": _count(of.scans),
        "patients": _count(of.people),
        "scans a person": Cell(of.scans / of.people if of.people else math.nan, digits=2),
        "people also in another split": _count(of.in_other_splits),
        "male (%)": Cell(100 * of.male / known if known else math.nan, digits=1),
        "sex unknown": _count(of.sex_unknown),
        "age at intake (years)": _mean(of.age),
        "age unknown": _count(of.age_unknown),
        **{d: _count(n) for d, n in of.diagnoses.items() if d},
        "diagnosis unknown": _count(of.diagnoses[""]),
        "MMSE": _mean(of.mmse),
        "MMSE unknown": _count(of.people - of.mmse_known),
        "MMSE ≥ 20": _count(of.mmse_kept_people),
        "mean of those": _mean(of.mmse_kept),
        "days from MRI to PET, median": _median(of.days, 0),
        "days from MRI to PET unknown": _count(of.days_unknown),
        "cortical SUVR, measured": _mean(of.suvr),
        "cortical SUVR unknown": _count(of.scans - of.suvr_known),
    }


def _count(n: int) -> Cell:
    return Cell(n, digits=0)


def _mean(of: Spread) -> Cell:
    return Cell(of.mean, plus_minus=of.sd, digits=2)


def _median(of: Spread, digits: int) -> Cell:
    return Cell(of.median, of.low, of.high, digits=digits)


def _suvr(
    manifest: Manifest, cache: str | Path | None
) -> tuple[Callable[[ManifestRow], float | None] | None, str]:
    """What gives the cortical SUVR of a PET in model space, and a sentence on where from."""
    made = made_caches(manifest, cache, reference=CEREBELLUM)
    if not made:
        return None, "Cortical SUVR: no PET of this cohort is in model space yet."
    first = made[0]
    there = {row.name for row in first.rows()}

    def suvr_of(row: ManifestRow) -> float | None:
        return cortical_suvr(np.asarray(first.pet(row))) if row.name in there else None

    grid = " × ".join(map(str, first.pet_shape))
    return suvr_of, (
        f"Cortical SUVR: built-in composite over whole cerebellum, on the grid {grid}, "
        f"registration {first.settings['registration']}."
    )
