"""Our SUVR beside the one that the study's own laboratory published for the same PETs.

Tables: `UCBERKELEY_AMY_6MM_<date>.csv` (6 mm) and the older `UCBERKELEYAV45_<date>.csv` (8 mm).
Theirs is FreeSurfer in native space, ours a composite in template space: a slope other than 1 is
expected, a low correlation or a large mean difference is not. Limits of agreement: Bland and
Altman 1986, Lancet 327:307; kappa: Cohen 1960.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.importing.clinical import day_format, rid_of_row
from mri2pet.cohort.importing.days import read_day
from mri2pet.cohort.importing.loni import ImageId
from mri2pet.cohort.manifest import ManifestRow, load_manifest
from mri2pet.errors import InputError, Mri2petError
from mri2pet.files import written_whole
from mri2pet.tables import number, read_table, write_tsv

POSITIVE_SUVR = 1.11
MIN_R, MAX_DIFFERENCE = 0.90, 0.10
COLUMNS = ("scan", "image_id", "step", "ours", "theirs")
_FBP = frozenset({"FBP", "AV45", "FLORBETAPIR"})
#: CENTILOIDS = slope · SUMMARY_SUVR + intercept, of FBP at 6 mm.
_CENTILOID = (188.22, -189.16)
_ROUNDING = 0.5 + 188.22 * 0.0005 + 0.01  # of whole Centiloids and of SUVR with three decimals

Measure = Callable[[ManifestRow], float]


@dataclass(frozen=True)
class Published:
    """A row of the table: `resolution_mm` of the PET, `suvr` of the summary region."""

    image: str
    rid: int | None
    day: date | None
    quality: float | None
    tracer: str
    resolution_mm: float
    suvr: float
    centiloid: float | None


@dataclass(frozen=True)
class Agreement:
    """How two measurements agree: `theirs` on x, `ours` on y; None where n does not allow it."""

    n: int
    r: float | None
    slope: float | None
    intercept: float | None
    mean_difference: float | None
    low: float | None
    high: float | None
    kappa: float | None

    @property
    def doubtful(self) -> bool:
        """Registration or units are wrong: r below 0.90, or a mean difference above 0.10."""
        apart = self.mean_difference is not None and abs(self.mean_difference) > MAX_DIFFERENCE
        return apart or (self.r is not None and self.r < MIN_R)


@dataclass(frozen=True)
class Checked:
    """Agreement per step, how many rows of the table were left out for what, failures, lines."""

    steps: dict[str, Agreement]
    left_out: dict[str, int]
    failures: dict[str, str]
    lines: list[str]


def read_published(path: Path) -> list[Published]:
    """The rows of a published table that have a summary SUVR.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    rows = [{k.strip().lower(): v for k, v in row.items()} for row in read_table(path)]
    columns = set(rows[0]) if rows else set()
    new, old = "summary_suvr" in columns, "summarysuvr_wholecerebnorm" in columns
    if not (new or old):
        raise InputError(f"{path}: holds no SUMMARY_SUVR; give a UCBERKELEY table of amyloid PET.")
    european = day_format(rows)
    found = []
    for row in rows:
        suvr = number(row.get("summary_suvr" if new else "summarysuvr_wholecerebnorm"))
        if suvr is None or suvr <= 0:
            continue
        image = ImageId.of(row.get("loniuid", ""))
        told = re.match(r"[\d.]+", row.get("image_resolution", ""))
        found.append(
            Published(
                image.key if image else "",
                rid_of_row(row),
                read_day(row.get("scandate") or row.get("examdate") or "", day_first=european),
                number(row.get("qc_flag")),
                row.get("tracer", "").upper() or ("FBP" if old else ""),
                float(told.group()) if told else (6.0 if new else 8.0),
                suvr,
                number(row.get("centiloids")),
            )
        )
    return found


def check_suvr(
    cohort: Path,
    table: Path,
    out: Path,
    *,
    measure: Measure | None = None,
    on_scan: Callable[[int, int, str, str | None], None] = lambda done, of, name, error: None,
) -> Checked:
    """Measures every PET of an imported cohort that the table has, and compares per step.

    What was measured is kept in `out`, so the same command goes on where it was stopped.

    Args:
        cohort: of `mri2pet cohort build`, of an imported tree.
        out: a folder: scans.tsv, agreement.json, scatter.png.
        measure: cortical composite over whole cerebellum of a row; default: by registration.

    Raises:
        InputError: a table cannot be read, or has no PET of the cohort.
    """
    manifest, measure = load_manifest(cohort), measure or _composite
    published = read_published(table)
    left_out: Counter[str] = Counter()
    usable = [row for row in published if not _left_out(row, left_out)]
    images = _images(manifest.root)
    known = {row["scan"]: row for row in read_table(out / "scans.tsv")}
    wanted = []
    for row in manifest.select():
        assert row.pet is not None
        facts = images.get(row.pet.relative_to(manifest.root).as_posix(), {})
        if (match := _match(row, facts, usable, left_out)) is not None:
            wanted.append((row, facts.get("image_id", ""), match))
    if not wanted:
        raise InputError(f"{table}: has no row for a PET of {cohort}; check phase and step.")
    scans, failures = [], {}
    for done, (row, image, match) in enumerate(wanted, start=1):
        error = None
        try:
            kept = number(known.get(row.name, {}).get("ours"))
            ours = measure(row) if kept is None else kept
            values = (row.name, image, row.step, ours, match.suvr)
            scans.append(dict(zip(COLUMNS, values, strict=True)))
            write_tsv(out / "scans.tsv", COLUMNS, scans)
        except Mri2petError as problem:
            assert row.pet is not None
            error = failures[row.name] = str(problem).replace(str(row.pet), row.pet.name)
        on_scan(done, len(wanted), row.name, error)
    steps = {
        step: agreement([s for s in scans if s["step"] == step])
        for step in sorted({str(s["step"]) for s in scans})
    }
    counts = {reason: count for reason, count in sorted(left_out.items()) if count}
    checked = Checked(steps, counts, failures, [])
    checked.lines.extend(_lines(checked, published))
    with written_whole(out / "agreement.json") as part:
        tree = {"steps": {k: asdict(v) for k, v in steps.items()}, "left_out": checked.left_out}
        part.write_text(json.dumps(tree | {"failures": failures}, indent=2) + "\n")
    _draw(out / "scatter.png", scans)
    return checked


def agreement(scans: Sequence[dict[str, Any]]) -> Agreement:
    """Of `ours` and `theirs`, SUVR."""
    ours = np.array([scan["ours"] for scan in scans], dtype=float)
    theirs = np.array([scan["theirs"] for scan in scans], dtype=float)
    n = len(ours)
    if n == 0:
        return Agreement(0, *(None,) * 7)
    difference = ours - theirs
    spread = float(difference.std(ddof=1)) if n > 1 else None
    mean = float(difference.mean())
    fits = n > 2 and theirs.std() > 0 and ours.std() > 0
    slope, intercept = np.polyfit(theirs, ours, 1) if fits else (None, None)
    return Agreement(
        n,
        float(np.corrcoef(theirs, ours)[0, 1]) if fits else None,
        None if slope is None else float(slope),
        None if intercept is None else float(intercept),
        mean,
        None if spread is None else mean - 1.96 * spread,
        None if spread is None else mean + 1.96 * spread,
        _kappa(ours >= POSITIVE_SUVR, theirs >= POSITIVE_SUVR),
    )


def centiloid_slips(rows: Sequence[Published]) -> int:
    """FBP rows at 6 mm whose Centiloid is not that of the table's own equation."""
    slope, intercept = _CENTILOID
    return sum(
        abs(slope * row.suvr + intercept - row.centiloid) > _ROUNDING
        for row in rows
        if row.tracer in _FBP and row.resolution_mm == 6 and row.centiloid is not None
    )


def _left_out(row: Published, counts: Counter[str]) -> bool:
    if row.tracer not in _FBP:
        counts["other tracer"] += 1
    elif row.quality is not None and row.quality < 1:
        counts["failed quality"] += 1
    else:
        return False
    return True


def _match(
    row: ManifestRow, facts: dict[str, str], rows: Sequence[Published], left_out: Counter[str]
) -> Published | None:
    image = ImageId.of(facts.get("image_id", ""))
    rid, day = re.search(r"S(\d+)$", row.subject), read_day(facts.get("acq_date", ""))
    found = [r for r in rows if image is not None and r.image == image.key]
    if not found and rid is not None and day is not None:
        found = [
            r
            for r in rows
            if r.rid == int(rid.group(1)) and r.day is not None and abs((r.day - day).days) <= 1
        ]
    same = [r for r in found if r.resolution_mm == row.resolution_mm]
    left_out["other resolution"] += len(found) - len(same)
    return same[0] if same else None


def _images(root: Path) -> dict[str, dict[str, str]]:
    path = root / "sourcedata" / "import.tsv"
    rows = read_table(path)
    if not rows:
        raise InputError(f"{path}: is missing; check-suvr needs a cohort that was imported.")
    return {row["file"]: row for row in rows if row.get("file")}


def _composite(row: ManifestRow) -> float:
    from mri2pet.quantification.inputs import Source
    from mri2pet.quantification.loading import quantified
    from mri2pet.quantification.settings import Quantification

    assert row.pet is not None
    source = Source("file", row.pet, row.subject, row.session, row.t1)
    value = quantified(source, Quantification.of()).regions[0].mean
    if value is None:
        raise InputError(f"{row.pet}: does not hold the composite.")
    return value


def _kappa(one: np.ndarray, other: np.ndarray) -> float | None:
    agree = float((one == other).mean())
    chance = float(one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean()))
    return None if chance == 1 else (agree - chance) / (1 - chance)


def _lines(checked: Checked, published: Sequence[Published]) -> list[str]:
    def shown(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.3f}"

    lines = []
    for step, a in checked.steps.items():
        lines.append(
            f"{step}: n {a.n}, r {shown(a.r)}, slope {shown(a.slope)}, intercept "
            f"{shown(a.intercept)}, mean difference {shown(a.mean_difference)} "
            f"({shown(a.low)} to {shown(a.high)}), kappa at {POSITIVE_SUVR} {shown(a.kappa)}"
        )
        if a.doubtful:
            lines.append(f"warning: {step}: registration or units are wrong, look at scatter.png")
    lines += [f"rows left out: {count} {reason}" for reason, count in checked.left_out.items()]
    if slips := centiloid_slips(published):
        lines.append(f"warning: {slips} rows of the table have a Centiloid of another equation")
    return lines


def _draw(path: Path, scans: Sequence[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    for step in sorted({str(s["step"]) for s in scans}):
        of = [s for s in scans if s["step"] == step]
        axes.plot([s["theirs"] for s in of], [s["ours"] for s in of], "o", label=step)
    ends = [min(*axes.get_xlim(), *axes.get_ylim()), max(*axes.get_xlim(), *axes.get_ylim())]
    axes.plot(ends, ends, "k:", linewidth=1)
    axes.set(xlabel="published SUVR", ylabel="our SUVR, whole cerebellum = 1")
    if scans:
        axes.legend()
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=120)
