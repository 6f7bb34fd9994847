"""Tests of differences between the rows of a table: paired t, Holm's adjustment, stars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-12  # a spread that small beside the values is that of their last digits
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Test:
    """Of a difference: t, its degrees of freedom and the two-tailed p; NaN where not defined."""

    t: float
    df: float
    p: float


def paired(first: Sequence[float], second: Sequence[float]) -> Test:
    """Student's t-test of paired values, one of each a person.

    Raises:
        ValueError: the lengths differ.
    """
    from scipy.stats import t as student

    if len(first) != len(second):
        raise ValueError(f"paired values are needed: {len(first)} and {len(second)}")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n = len(difference)
    sd = float(difference.std(ddof=1)) if n > 1 else math.nan
    if not sd > _ROUNDING * float(np.abs([*first, *second, 0]).max()):
        return Test(math.nan, n - 1.0, math.nan)
    t = float(difference.mean()) / sd * math.sqrt(n)
    return Test(t, n - 1.0, float(2 * student.sf(abs(t), n - 1)))


def welch(
    mean: float, error: float, n: int, other_mean: float, other_error: float, other_n: int
) -> Test:
    """Welch's t-test of two printed means with their standard errors.

    Args:
        mean, error, n: the mean, its standard error and the number of values, and the other's.
    """
    from scipy.stats import t as student

    a, b = error**2 * n / (n - 1), other_error**2 * other_n / (other_n - 1)  # SD over n, not n − 1
    if not a + b > 0:
        return Test(math.nan, math.nan, math.nan)
    t = (mean - other_mean) / math.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (other_n - 1))
    return Test(t, df, float(2 * student.sf(abs(t), df)))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's steps (1979, Scand. J. Statistics 6:65).

    NaN stays NaN and does not count.
    """
    order = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    adjusted, largest = [math.nan] * len(p), 0.0
    for place, (value, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * value))
        adjusted[i] = largest
    return adjusted


def stars(p: float) -> str:
    """`*` for p < 0.05, `**` for p < 0.01, `***` for p < 0.001, else nothing."""
    return next((text for limit, text in _STARS if p < limit), "")
