"""The paper's Figures 2, 3a, 3b and 4 of any cohort, the people chosen by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.passed_over import counted
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.evaluation.atrophy import Atrophy, atrophy_of
from mri2pet.evaluation.intervals import PEARSON, Estimate, estimate
from mri2pet.evaluation.shown import NobodyToShowError, Shown, open_shown
from mri2pet.evaluation.tables import interval_note
from mri2pet.report.choose import at_random, greatest, greatest_growth
from mri2pet.report.sheet import SLICE_MM, Block, Panel, Sheet, draw_sheet, place_of_mm
from mri2pet.tables import write_tsv

GRID_PLACES = (10 / 32, 13 / 32, 15 / 32)  # the paper's slices
GRID_MODELS = 4  # side by side
PLACES = (place_of_mm(SLICE_MM),)
YEARS_APART = 1.5
DAYS_A_YEAR = 365.25
COLUMNS = (
    *("place", "row", "subject", "session", "diagnosis", "age", "day", "atrophy"),
    *("atrophy_adjusted", "sharpness", "rule"),
)
TRIPLET = ("MRI", "measured PET", "synthetic PET")
AT_ONCE = 10  # scans beside each other in Figure 4


@dataclass(frozen=True)
class CohortFigure:
    """A picture.

    Attributes:
        path: the PNG. table: who is in it and why, beside it.
        text: what it shows, in one sentence or two.
    """

    path: Path
    table: Path
    text: str


def draw_grid(
    data: str | Path,
    evaluations: Sequence[str | Path],
    path: str | Path,
    *,
    people: int = 5,
    seed: int = 0,
    subjects: Sequence[str] = (),
    as_paper: bool = False,
    cache: str | Path | None = None,
) -> CohortFigure:
    """Figure 2: people chosen at random, three slices of MRI, measured PET and each model's PET.

    More than four models stand below each other in fours, MRI and measured PET beside each four.

    Args:
        data, evaluations, cache: see `open_shown`.
        path: the PNG; the people stand in a TSV of the same name.
        seed: names the choice.
        subjects: these people (or rows) instead.
        as_paper: each PET from its own least to its own greatest value.

    Raises:
        UsageError, InputError: what `open_shown` raises; people who are not there.
        Mri2petError: the files cannot be written.
    """
    shown = open_shown(data, evaluations, cache=cache, as_paper=as_paper)
    first = _first_rows(shown.rows)
    if subjects:
        chosen, rule = _named(shown.rows, subjects), "asked for"
    else:
        _check_count(people)
        names = at_random(list(first), people, seed)
        chosen, rule = [first[n] for n in names], f"drawn at random, seed {seed}"
    blocks = [
        Block(
            [*TRIPLET[:2], *(shown.titles[n] for n in models)],
            [
                (
                    _name(row),
                    [
                        shown.mri(row, GRID_PLACES),
                        shown.measured(row, GRID_PLACES),
                        *(shown.drawn(row, GRID_PLACES, number=n) for n in models),
                    ],
                )
                for row in chosen
            ],
        )
        for models in _bands(len(shown.stored))
    ]
    text = f"{_people(chosen)}, {rule}; one sample of each model, axial slices 10, 13, 15 of 32."
    return _write(shown, Path(path), blocks, 1.3, text, [(row, rule, {}) for row in chosen])


def draw_cases(
    data: str | Path,
    evaluations: Sequence[str | Path],
    path: str | Path,
    *,
    people: int = 3,
    subjects: Sequence[str] = (),
    as_paper: bool = False,
    cache: str | Path | None = None,
) -> CohortFigure:
    """Figure 3a: people with AD and the most atrophy, MRI, measured and synthetic PET.

    Arguments and errors as of `draw_grid`; of several evaluations the first is shown.

    Raises:
        NobodyToShowError: nobody with AD.
    """
    shown = open_shown(data, evaluations, cache=cache, as_paper=as_paper)
    if subjects:
        chosen = _named(shown.rows, subjects)
        atrophy, rule = atrophy_of(shown.cohort, chosen), "asked for"
    else:
        _check_count(people)
        rows = _with_ad(shown)
        atrophy = atrophy_of(shown.cohort, rows)
        most: dict[str, ManifestRow] = {}
        for row in sorted(rows, key=lambda r: -atrophy.adjusted[r.name]):
            most.setdefault(row.subject, row)
        by_person = {s: atrophy.adjusted[row.name] for s, row in most.items()}
        chosen = [most[subject] for subject in greatest(by_person, people)]
        rule = f"AD, greatest {atrophy.measure}, {atrophy.adjustment}"
    lines = [(_name(row, atrophy), _triplet(shown, row)) for row in chosen]
    text = f"{_people(chosen)}: {rule}. Axial slice at z = {SLICE_MM:g} mm."
    listed = [(row, rule, _measures(atrophy, row)) for row in chosen]
    return _write(shown, Path(path), [Block(TRIPLET, lines)], 0.75, text, listed)


def draw_longitudinal(
    data: str | Path,
    evaluations: Sequence[str | Path],
    path: str | Path,
    *,
    people: int = 2,
    subjects: Sequence[str] = (),
    as_paper: bool = False,
    cache: str | Path | None = None,
) -> CohortFigure:
    """Figure 3b: two visits of people whose atrophy grows most, and the change in cortical SUVR.

    Arguments and errors as of `draw_cases`.

    Raises:
        NobodyToShowError: nobody with two pairs at least 1.5 years apart.
    """
    _check_count(people)
    shown = open_shown(data, evaluations, cache=cache, as_paper=as_paper)
    rows = _named(shown.rows, subjects) if subjects else shown.rows
    by_person: dict[str, list[ManifestRow]] = {}
    for row in rows:
        if row.day is not None:
            by_person.setdefault(row.subject, []).append(row)
    several = [row for own in by_person.values() if len(own) > 1 for row in own]
    atrophy = atrophy_of(shown.cohort, several)
    pairs: dict[str, tuple[str, str]] = {}
    for subject, own in by_person.items():
        if len(own) > 1:
            days = {row.name: row.day or 0.0 for row in own}
            pair = greatest_growth(days, atrophy.values, YEARS_APART * DAYS_A_YEAR)
            if pair is not None:
                pairs[subject] = pair
    if not pairs:
        raise NobodyToShowError(
            f"{data}: nobody among the {len({r.subject for r in rows})} people evaluated has two "
            f"MRI–PET pairs with dates at least {YEARS_APART} years apart; this figure needs one."
        )
    growth = {s: atrophy.values[b] - atrophy.values[a] for s, (a, b) in pairs.items()}
    rule = f"greatest growth of the {atrophy.measure} over {YEARS_APART} years and more"
    of = {row.name: row for row in several}
    lines, listed = [], []
    for subject in greatest(growth, people):
        early, late = (of[name] for name in pairs[subject])
        words = _change(shown, early, late)
        start = early.day or 0.0
        for row in (early, late):
            years = ((row.day or 0.0) - start) / DAYS_A_YEAR
            name = f"{_name(row, atrophy)}\nyear {years:.1f}"
            lines.append((name, _triplet(shown, row, words if row is late else "")))
            listed.append((row, rule, _measures(atrophy, row)))
    text = f"{_people([row for row, *_ in listed])}: {rule}."
    if shown.stored[0].settings["samples"] > 1:
        text += (
            " Cortical SUVR of the synthetic PET is that of the mean of the samples; the range in "
            "brackets holds 90 % of their differences and is no error bar."
        )
    return _write(shown, Path(path), [Block(TRIPLET, lines)], 0.75, text, listed)


def draw_decay(
    data: str | Path,
    evaluations: Sequence[str | Path],
    path: str | Path,
    *,
    subjects: Sequence[str] = (),
    as_paper: bool = False,
    cache: str | Path | None = None,
) -> CohortFigure:
    """Figure 4: all AD scans sorted by atrophy, and whether sharpness goes with it.

    Sharpness of a synthetic PET is the variance of its 3D Laplacian in the brain over that of the
    measured PET. Arguments and errors as of `draw_cases`.
    """
    shown = open_shown(data, evaluations, cache=cache, as_paper=as_paper)
    rows = _named(shown.rows, subjects) if subjects else _with_ad(shown)
    atrophy = atrophy_of(shown.cohort, rows)
    rows = sorted(rows, key=lambda row: (atrophy.adjusted[row.name], row.name))
    sharpness = {row.name: _sharpness(shown, row) for row in rows}
    blocks = []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        texts = [f"{atrophy.adjusted[row.name]:.3f}" for row in part]
        lines: list[tuple[str, list[Panel]]] = [
            (TRIPLET[0], [shown.mri(row, PLACES) for row in part]),
            (TRIPLET[1], [shown.measured(row, PLACES) for row in part]),
            (
                TRIPLET[2],
                [shown.drawn(row, PLACES, f"{sharpness[row.name]:.2f}") for row in part],
            ),
        ]
        blocks.append(Block(texts, lines))
    rho = spearman([row.subject for row in rows], [atrophy.adjusted[r.name] for r in rows],
                   [sharpness[r.name] for r in rows])  # fmt: skip
    people = len({row.subject for row in rows})
    text = (
        f"{counted(len(rows), 'scan')} of {_people(rows)} with AD, from little to much "
        f"{atrophy.measure}, {atrophy.adjustment} (above); below, sharpness of the synthetic over "
        f"the measured PET. Spearman ρ of the two: {rho.text(2)} ({interval_note(people)}). The "
        "paper expects ρ > 0."
    )
    rule = f"AD, sorted by {atrophy.measure}, {atrophy.adjustment}"
    listed = [
        (row, rule, {**_measures(atrophy, row), "sharpness": sharpness[row.name]}) for row in rows
    ]
    return _write(shown, Path(path), blocks, 1.3, text, listed)


def spearman(people: Sequence[str], x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Spearman's ρ over scans with its interval over people, the ranks those among all scans."""
    from scipy.stats import rankdata

    return estimate(PEARSON, people, rankdata(x), rankdata(y))


def _sharpness(shown: Shown, row: ManifestRow) -> float:
    from scipy.ndimage import laplace

    inside = np.asarray(shown.cohort.brain(row)) > 0.5
    measured = np.asarray(shown.cohort.pet(row), dtype=np.float32)
    drawn, real = (float(laplace(pet)[inside].var()) for pet in (shown.sample(row), measured))
    return drawn / real if real > 0 else float("nan")


def _change(shown: Shown, early: ManifestRow, late: ManifestRow) -> str:
    """The change in cortical SUVR, measured and drawn."""
    first, second = (shown.stored[0].records[row.name] for row in (early, late))
    measured, mean = (second[of]["cortex"] - first[of]["cortex"] for of in ("measured", "mean"))
    a, b = (np.asarray(record["drawn"]["cortex"]) for record in (first, second))
    text = f"cortical SUVR, change:\nmeasured {measured:+.2f}, synthetic {mean:+.2f}"
    if len(a) == len(b) == 1:
        return text
    low, high = np.quantile(b[:, None] - a[None], [0.05, 0.95])
    return f"{text} [{low:+.2f}, {high:+.2f}]"


def _triplet(shown: Shown, row: ManifestRow, text: str = "") -> list[Panel]:
    return [shown.mri(row, PLACES), shown.measured(row, PLACES), shown.drawn(row, PLACES, text)]


def _with_ad(shown: Shown) -> list[ManifestRow]:
    rows = [row for row in shown.rows if row.diagnosis == "AD"]
    if not rows:
        known = sum(row.diagnosis is not None for row in shown.rows)
        raise NobodyToShowError(
            f"{shown.cohort.manifest.root}: no scan of an evaluated person with AD "
            f"({known} of {len(shown.rows)} scans have a diagnosis); this figure needs one."
        )
    return rows


def _first_rows(rows: Sequence[ManifestRow]) -> dict[str, ManifestRow]:
    found: dict[str, ManifestRow] = {}
    for row in rows:
        found.setdefault(row.subject, row)
    return found


def _named(rows: Sequence[ManifestRow], subjects: Sequence[str]) -> list[ManifestRow]:
    """All rows of these people, or these rows, in the order asked for."""
    found = []
    for name in subjects:
        own = [r for r in rows if name in (r.name, r.subject, r.subject.removeprefix("sub-"))]
        if not own:
            raise UsageError(f"{name}: is not among the people evaluated; --subjects names others")
        found += [row for row in own if row not in found]
    return found


def _bands(models: int) -> list[range]:
    """The numbers of the models, those together that stand side by side."""
    return [range(n, min(n + GRID_MODELS, models)) for n in range(0, models, GRID_MODELS)]


def _people(rows: Sequence[ManifestRow]) -> str:
    return counted(len({row.subject for row in rows}), "person", "people")


def _check_count(people: int) -> None:
    if people < 1:
        raise UsageError(f"--people is {people}; it must be at least 1")


def _name(row: ManifestRow, atrophy: Atrophy | None = None) -> str:
    lines = [row.subject.removeprefix("sub-"), row.session]
    facts = [row.diagnosis, None if row.age is None else f"{row.age:.0f} y"]
    lines.append(", ".join(fact for fact in facts if fact))
    if atrophy is not None:
        lines.append(f"atrophy {atrophy.adjusted[row.name]:.3f}")
    return "\n".join(line for line in lines if line)


def _measures(atrophy: Atrophy, row: ManifestRow) -> dict[str, float]:
    values = {"atrophy": atrophy.values, "atrophy_adjusted": atrophy.adjusted}
    return {key: of[row.name] for key, of in values.items()}


def _write(
    shown: Shown,
    path: Path,
    blocks: Sequence[Block],
    pixel_mm: float,
    text: str,
    listed: Sequence[tuple[ManifestRow, str, dict[str, float]]],
) -> CohortFigure:
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: a figure must have a name that ends in .png")
    scale = "each from its own least to its own greatest value, as in the paper"
    notes = [
        f"PETs: {scale if shown.as_paper else 'SUVR, one scale for measured and synthetic'}; left "
        f"is left. {text}"
    ]
    lines: list[dict[str, Any]] = [
        {"place": n, "row": row.name, "subject": row.subject, "session": row.session or None,
         "diagnosis": row.diagnosis, "age": row.age, "day": row.day, "rule": rule, **numbers}
        for n, (row, rule, numbers) in enumerate(listed, start=1)
    ]  # fmt: skip
    table = path.with_suffix(".tsv")
    try:
        draw_sheet(path, Sheet(blocks, pixel_mm, notes, scale=not shown.as_paper))
        write_tsv(table, COLUMNS, lines)
    except OSError as error:
        raise Mri2petError(f"{path}: cannot be written ({error.strerror}).") from error
    return CohortFigure(path, table, text)
