"""Intervals by resampling people: BCa and percentile, for statistics that are functions of sums.

A statistic declares sums of each scan (as 1, x, xx) and a function of their total. A person's
scans are added first, so a draw of people is a product of counts with sums, and ten thousand
draws take milliseconds. Scans of one person are not independent, so people are drawn with all
their scans (Efron & Tibshirani 1993, chapters 8, 13 and 14).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST_FOR_BCA = 10
_TOO_FLAT = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval; NaN where it is not defined.

    `kind`: "BCa", "percentile" (fewer than 10 people), "jackknife" or "" (no interval).
    """

    value: float
    low: float
    high: float
    kind: str = ""

    def text(self, digits: int) -> str:
        """`0.123 [0.110, 0.136]`, `0.123` where there is no interval, or a dash."""
        if not math.isfinite(self.value):
            return "–"
        value = f"{self.value:.{digits}f}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return value
        return f"{value} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Statistic:
    """A function of sums over scans.

    Attributes:
        sums: columns [n] each → [n, q], what a scan adds.
        of: totals [..., q] → [...]; NaN where it is not defined.
    """

    sums: Callable[..., np.ndarray]
    of: Callable[[np.ndarray], np.ndarray]


def _share(totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 1] / totals[..., 0])


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Neither a shift nor a scale changes a correlation, and near 0 the sums keep their digits.
    x, y = _centred(x), _centred(y)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _centred(x: np.ndarray) -> np.ndarray:
    spread = float(np.ptp(x)) if x.size else 0.0
    return (x - x.mean()) / spread if spread > _TOO_FLAT else np.zeros_like(x)


def _pearson(totals: np.ndarray) -> np.ndarray:
    n, x, y, xx, xy, yy = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        var_x, var_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        r = (xy / n - x * y / n**2) / np.sqrt(var_x * var_y)
        defined = (n > 2) & (var_x > _TOO_FLAT**2) & (var_y > _TOO_FLAT**2)
    return np.where(defined, np.clip(r, -1, 1), math.nan)


MEAN = Statistic(lambda x: np.stack([np.ones_like(x), x], axis=-1), _share)
"""Arithmetic mean over scans."""

MEAN_ABSOLUTE_DIFFERENCE = Statistic(
    lambda x, y: np.stack([np.ones_like(x), np.abs(x - y)], axis=-1), _share
)
"""Mean |x − y| over scans."""

PEARSON = Statistic(_moments, _pearson)
"""Pearson's correlation over scans; NaN for fewer than three or a column without spread."""


def estimate(
    statistic: Statistic,
    subjects: Sequence[str],
    *columns: Sequence[float],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic and its 95 % interval: BCa over people, percentile for fewer than 10 people.

    One person gives no interval.

    Args:
        subjects: the person of each scan.
        columns: values of each scan.

    Raises:
        ValueError: no scans, or columns of another length.
    """
    if not subjects or any(len(column) != len(subjects) for column in columns):
        raise ValueError("an interval needs scans, and columns of one length")
    per_scan = statistic.sums(*(np.asarray(column, dtype=np.float64) for column in columns))
    per_person = by_person(per_scan, subjects)
    people = len(per_person)
    value = float(statistic.of(per_person.sum(axis=0)))
    if not math.isfinite(value) or people < 2:
        return Estimate(value, math.nan, math.nan)
    draws = statistic.of(draw_counts(people, resamples, seed) @ per_person)
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return Estimate(value, math.nan, math.nan)
    left_out = statistic.of(per_person.sum(axis=0) - per_person)
    if people < FEWEST_FOR_BCA or not np.isfinite(left_out).all():
        return Estimate(value, *percentile_limits(draws), kind="percentile")
    return Estimate(value, *bca_limits(value, draws, left_out), kind="BCa")


def by_person(per_scan: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Rows of one person added: [n, …] → [people, …], people in the order of their first scan."""
    place = {name: i for i, name in enumerate(dict.fromkeys(subjects))}
    sums = np.zeros((len(place), *per_scan.shape[1:]))
    np.add.at(sums, [place[name] for name in subjects], per_scan)
    return sums


def draw_counts(people: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each person is in each draw with replacement: float64 [resamples, people]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)


def percentile_limits(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The quantiles (linear) of the draws that hold `level` between them."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bca_constants(value: float, draws: np.ndarray, left_out: np.ndarray) -> tuple[float, float]:
    """Bias correction z₀ and acceleration a (Efron 1987, JASA 82:171).

    z₀ from the share of draws below the value, ties half; a = Σu³ / (6 (Σu²)^{3/2}) with u the mean
    of the values without one person less each of them.
    """
    from scipy.stats import norm

    below = float(np.mean(draws < value) + np.mean(draws == value) / 2)
    u = left_out.mean() - left_out
    squares = float((u**2).sum())
    acceleration = float((u**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    return float(norm.ppf(below)), acceleration


def bca_limits(
    value: float, draws: np.ndarray, left_out: np.ndarray, level: float = LEVEL
) -> tuple[float, float]:
    """Limits of the bias-corrected and accelerated interval (Efron 1987).

    Args:
        value: of all people.
        draws: of resamples of people.
        left_out: without one person in turn.
    """
    from scipy.stats import norm

    z0, a = bca_constants(value, draws, left_out)
    if not math.isfinite(z0):  # all draws on one side
        return percentile_limits(draws, level)
    tail = (1 - level) / 2
    shifted = z0 + norm.ppf([tail, 1 - tail])
    places = norm.cdf(z0 + shifted / (1 - a * shifted))
    low, high = np.quantile(draws, places)
    return float(low), float(high)


def jackknife(value: float, left_out: Sequence[float], level: float = LEVEL) -> Estimate:
    """A statistic whose resamples are biased, with the interval of a delete-a-group jackknife.

    SE² = (G − 1)/G Σ(θ₋g − θ̄)², the interval is ± t(G − 1)·SE (Kott 2001, J. Official Statistics
    17:521).

    Args:
        value: of all people.
        left_out: [G], without one group of people in turn.
    """
    from scipy.stats import t

    groups = len(left_out)
    if groups < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    half = jackknife_se(left_out) * float(t.ppf((1 + level) / 2, groups - 1))
    return Estimate(value, value - half, value + half, kind="jackknife")


def jackknife_se(left_out: Sequence[float]) -> float:
    """Standard error by the values without one group in turn, see `jackknife`."""
    values = np.asarray(left_out, dtype=np.float64)
    groups = len(values)
    return math.sqrt((groups - 1) / groups * float(((values - values.mean()) ** 2).sum()))
