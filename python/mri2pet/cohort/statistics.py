"""Who is in a cohort, split by split: the numbers of the paper's Tables 4 and 5.

People are counted once in a split, at their first paired scan there: by date, or by the name of
the session where a date is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.manifest import Manifest, ManifestRow
from mri2pet.cohort.splits import SPLITS

DIAGNOSES = ("CN", "MCI", "AD")
LOWEST_MMSE = 20.0  # of the paper's Table 3


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (n − 1), median, least and greatest of some numbers; NaN of none."""

    mean: float
    sd: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of any number of values."""
        if not values:
            return cls(*[math.nan] * 5)
        x = np.asarray(values, dtype=np.float64)
        sd = float(x.std(ddof=1)) if len(x) > 1 else math.nan
        return cls(*map(float, (x.mean(), sd, np.median(x), x.min(), x.max())))


@dataclass(frozen=True)
class SplitStatistics:
    """The people with an MRI–PET pair in a split.

    Attributes:
        scans, people: pairs, and people who have them.
        in_other_splits: people who have pairs in another split too.
        male, female, sex_unknown: people.
        age: years, at the first paired scan. days: from MRI to PET, of all pairs.
        diagnoses: CN, MCI, AD and "" (unknown) → people.
        mmse, mmse_kept: of all people with a score, and of those with 20 and more.
        age_unknown, mmse_known, mmse_kept_people, days_unknown: how many.
        suvr: cortical, of the measured PETs of all scans whose value is known.
        suvr_known: how many these are.
    """

    scans: int
    people: int
    in_other_splits: int
    male: int
    female: int
    sex_unknown: int
    age: Spread
    age_unknown: int
    diagnoses: dict[str, int]
    mmse: Spread
    mmse_known: int
    mmse_kept: Spread
    mmse_kept_people: int
    days: Spread
    days_unknown: int
    suvr: Spread
    suvr_known: int


def split_statistics(
    manifest: Manifest, suvr_of: Callable[[ManifestRow], float | None] | None = None
) -> dict[str, SplitStatistics]:
    """Split → its people and scans.

    Args:
        suvr_of: a paired row → cortical SUVR of its PET, None where unknown.
    """
    people = {split: {row.subject for row in manifest.select(split)} for split in SPLITS}
    everywhere = Counter(subject for of in people.values() for subject in of)
    twice = {subject for subject, count in everywhere.items() if count > 1}
    return {
        split: _of_split(manifest.select(split), people[split] & twice, suvr_of) for split in SPLITS
    }


def first_scans(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """The first row of each person: by date where all are dated, else by name."""
    found: dict[str, list[ManifestRow]] = {}
    for row in rows:
        found.setdefault(row.subject, []).append(row)
    return [_first(own) for own in found.values()]


def _first(own: list[ManifestRow]) -> ManifestRow:
    dated = all(row.day is not None for row in own)
    return min(own, key=lambda row: ((row.day or 0.0) if dated else 0.0, row.name))


def _of_split(
    rows: list[ManifestRow],
    twice: set[str],
    suvr_of: Callable[[ManifestRow], float | None] | None,
) -> SplitStatistics:
    first = first_scans(rows)
    sexes = Counter(row.sex for row in first)
    ages = [row.age for row in first if row.age is not None]
    scores = [row.mmse for row in first if row.mmse is not None]
    kept = [score for score in scores if score >= LOWEST_MMSE]
    days = [row.days_apart for row in rows if row.days_apart is not None]
    levels = [] if suvr_of is None else [v for row in rows if (v := suvr_of(row)) is not None]
    diagnoses = Counter(row.diagnosis or "" for row in first)
    return SplitStatistics(
        scans=len(rows),
        people=len(first),
        in_other_splits=len(twice),
        male=sexes["M"],
        female=sexes["F"],
        sex_unknown=sexes[None],
        age=Spread.of(ages),
        age_unknown=len(first) - len(ages),
        diagnoses={name: diagnoses[name] for name in (*DIAGNOSES, "")},
        mmse=Spread.of(scores),
        mmse_known=len(scores),
        mmse_kept=Spread.of(kept),
        mmse_kept_people=len(kept),
        days=Spread.of(days),
        days_unknown=len(rows) - len(days),
        suvr=Spread.of(levels),
        suvr_known=len(levels),
    )
