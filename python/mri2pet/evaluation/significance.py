"""Differences between two methods on the same people: paired tests, intervals, tests.tsv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.evaluation.distance_rows import Distance, difference
from mri2pet.evaluation.hypothesis import holm, paired, stars
from mri2pet.evaluation.intervals import MEAN, Estimate, by_person, estimate
from mri2pet.evaluation.stored import StoredMethod
from mri2pet.tables import write_tsv

HIGH_IS_BETTER = {"ssim": True, "psnr": True, "mae": False, "suvr_error": False}
COLUMNS = (
    *("metric", "first", "second", "difference", "low", "high", "interval"),
    *("t", "df", "p", "p_holm", "stars", "better"),
)


@dataclass(frozen=True)
class Difference:
    """A metric of the first method less that of the second, by people.

    `p_holm` is adjusted for all tests of this metric against the same first method; NaN where
    there is no test (FID and KID have an interval alone).
    """

    metric: str
    first: str
    second: str
    estimate: Estimate
    t: float = math.nan
    df: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    high_is_better: bool = False

    @property
    def stars(self) -> str:
        """Of the adjusted p."""
        return stars(self.p_holm)

    @property
    def first_is_better(self) -> bool:
        """Whether the first method has the better value."""
        return (self.estimate.value > 0) is self.high_is_better

    def _better(self) -> str | None:
        """None where there is no difference, or none that is known."""
        gap = self.estimate.value
        if not math.isfinite(gap) or gap == 0:
            return None
        return self.first if self.first_is_better else self.second

    def row(self) -> dict[str, Any]:
        """The line of tests.tsv."""
        return {
            "metric": self.metric,
            "first": self.first,
            "second": self.second,
            "difference": self.estimate.value,
            "low": self.estimate.low,
            "high": self.estimate.high,
            "interval": self.estimate.kind or None,
            "t": self.t,
            "df": self.df,
            "p": self.p,
            "p_holm": self.p_holm,
            "stars": self.stars or None,
            "better": self._better(),
        }


def differences(
    methods: list[StoredMethod], rows: list[str], people: list[str], distances: dict[str, Distance]
) -> list[Difference]:
    """Of the first evaluation's one sample, and of its mean of samples, to every other row."""
    found = []
    for first in methods[: 2 if len(methods) > 1 and methods[1].method == "mean_of_samples" else 1]:
        others = [m for m in methods if m is not first]
        for metric, better in HIGH_IS_BETTER.items():
            found += _adjusted([_tested(metric, first, o, rows, people, better) for o in others])
        for other in others:
            if first.name in distances and other.name in distances:
                both = difference(distances[first.name], distances[other.name])
                for metric, value in zip(("fid", "kid"), both, strict=True):
                    found.append(Difference(metric, first.name, other.name, value))
    return found


def _tested(
    metric: str,
    first: StoredMethod,
    second: StoredMethod,
    rows: list[str],
    people: list[str],
    better: bool,
) -> Difference:
    one, two = (np.asarray(m.figures(rows)[metric]) for m in (first, second))
    means = []
    for values in (one, two):
        sums = by_person(MEAN.sums(values), people)
        means.append(list(MEAN.of(sums)))
    test = paired(*means)
    persons = [str(n) for n in range(len(means[0]))]
    gap = estimate(MEAN, persons, [a - b for a, b in zip(*means, strict=True)])
    return Difference(
        metric, first.name, second.name, gap, test.t, test.df, test.p, high_is_better=better
    )


def _adjusted(tests: list[Difference]) -> list[Difference]:
    adjusted = holm([test.p for test in tests])
    return [replace(test, p_holm=p) for test, p in zip(tests, adjusted, strict=True)]


def write_tests(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One line a difference; `better` is the method with the better value."""
    write_tsv(path, COLUMNS, rows)
