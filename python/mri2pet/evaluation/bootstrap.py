"""Intervals by resampling subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
Statistic = Callable[..., float]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """`0.123 [0.110, 0.136]`, or a dash."""
        if not math.isfinite(self.value):
            return "–"
        value, low, high = (f"{x:.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def estimate(
    statistic: Statistic,
    subjects: Sequence[str],
    *columns: Sequence[float],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic and its percentile bootstrap interval (95 %).

    Subjects are drawn with replacement, each with all of its sessions, because sessions of one
    subject are not independent (Efron & Tibshirani 1993, chapters 8 and 13).

    Args:
        statistic: of as many arrays as there are columns; NaN where it is not defined.
        subjects: the subject of each row.
        columns: values of each row.

    Raises:
        ValueError: no rows, or columns of another length.
    """
    if not subjects or any(len(column) != len(subjects) for column in columns):
        raise ValueError("a bootstrap needs rows, and columns of one length")
    values = [np.asarray(column, dtype=np.float64) for column in columns]
    names = np.asarray(subjects)
    rows_of = [np.flatnonzero(names == name) for name in dict.fromkeys(subjects)]
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for n in range(resamples):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        drawn[n] = statistic(*(column[rows] for column in values))
    drawn = drawn[np.isfinite(drawn)]
    value = statistic(*values)
    if not math.isfinite(value) or not drawn.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def mean(values: np.ndarray) -> float:
    """Arithmetic mean."""
    return float(values.mean())


def mean_absolute_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |first − second|."""
    return float(np.abs(first - second).mean())


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; NaN for fewer than three rows or a column without spread."""
    spread = min(float(np.ptp(first)), float(np.ptp(second))) if len(first) > 2 else 0.0
    if spread < 1e-9:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
