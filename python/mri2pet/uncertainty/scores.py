"""Scores of samples against measured values: float64, one value a person.

Everywhere `samples` is `[P, K]`, K draws for each of P people, and `measured` `[P]`, both in SUVR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

RELIABILITY_BINS = 5


def crps(samples: np.ndarray, measured: np.ndarray, *, fair: bool = False) -> np.ndarray:
    """Continuous ranked probability score of each person, `[P]`, SUVR; lower is better.

    mean|x − y| − Σ|x_k − x_l| / (2K²) (Gneiting & Raftery 2007, equation 21). `fair` divides by
    2K(K − 1), which does not punish a small K (Ferro 2014); it needs two samples.
    """
    x = np.sort(np.asarray(samples, dtype=np.float64), axis=1)
    count = x.shape[1]
    error = np.abs(x - np.asarray(measured, dtype=np.float64)[:, None]).mean(axis=1)
    # Over sorted values Σ|x_k − x_l| over all ordered pairs is 2 Σ (2k − K − 1) x_k, k from 1.
    pairs = 2 * (x * (2 * np.arange(1, count + 1) - count - 1)).sum(axis=1)
    return error - pairs / (2 * count * (count - 1 if fair else count))


def climatology_crps(training: np.ndarray, measured: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Fair CRPS `[P]` of giving everybody the values of the training people, `[N]`.

    `own`, bool `[P, N]`, tells a person's own value, which does not count. NaN where fewer than
    two are left.
    """
    found = np.full(len(measured), np.nan)
    for person, value in enumerate(measured):
        others = training[~own[person]]
        if len(others) > 1:
            found[person] = crps(others[None], np.array([value]), fair=True)[0]
    return found


def rank_counts(samples: np.ndarray, measured: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often the measured value has each rank among the K samples: int `[K + 1]`.

    Flat when the samples are drawn from what the measured value is drawn from (Hamill 2001). A
    value equal to samples gets one of the ranks it could have, by `seed`.
    """
    y = np.asarray(measured)[:, None]
    below, equal = (samples < y).sum(axis=1), (samples == y).sum(axis=1)
    ranks = below + np.random.default_rng(seed).integers(0, equal + 1)
    return np.bincount(ranks, minlength=samples.shape[1] + 1)


def flatness_p(counts: np.ndarray) -> float:
    """p of the χ² test that all ranks are equally frequent."""
    from scipy.stats import chisquare

    return float(chisquare(counts).pvalue)


def spread_skill(samples: np.ndarray, measured: np.ndarray) -> float:
    """√(mean s²) · √((K + 1)/K) / RMSE of the samples' plain mean; 1 is right, below is too sure.

    Fortin et al. 2014, J. Hydrometeorology 15:1708.
    """
    variance = np.var(samples, axis=1, ddof=1).mean()
    squared_error = np.square(samples.mean(axis=1) - measured).mean()
    return spread_skill_of_moments(variance, squared_error, samples.shape[1])


def spread_skill_of_moments(variance: float, squared_error: float, count: int) -> float:
    """The same from the mean variance of `count` samples and the mean squared error."""
    return math.sqrt(variance * (count + 1) / count / squared_error) if squared_error else math.nan


def clopper_pearson(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper & Pearson 1934)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, of).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Coverage:
    """How many of `of` measured values lie in their intervals of a nominal `level`.

    `low` and `high` bound the share (Clopper–Pearson, 95 %); `width` is the intervals' mean, SUVR.
    """

    level: float
    hits: int
    of: int
    low: float
    high: float
    width: float

    @property
    def share(self) -> float:
        return self.hits / self.of


def coverage(level: float, low: np.ndarray, high: np.ndarray, measured: np.ndarray) -> Coverage:
    """Of intervals with the ends `low` and `high`, `[P]`, which count as inside."""
    hits = int(((low <= measured) & (measured <= high)).sum())
    width = float(np.mean(high - low))
    return Coverage(level, hits, len(measured), *clopper_pearson(hits, len(measured)), width)


def raw_interval(
    mean: np.ndarray, spread: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """mean ± z · SD of the samples, `[P]` each: what the spread would mean if it were an error."""
    from scipy.stats import norm

    half = norm.ppf((1 + level) / 2) * spread
    return mean - half, mean + half


def status_scores(probability: np.ndarray, above: np.ndarray) -> dict[str, Any]:
    """How good probabilities `[P]` of exceeding a threshold are, `above` bool `[P]` being true.

    Returns:
        above and people: counts; brier: mean (p − above)² (Brier 1950); auroc: share of pairs in
        order, ties half, NaN where all are on one side; reliability: for each of five equal bins
        of p its people, mean p and share above, NaN where the bin is empty.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(above, dtype=bool)
    differences = p[y][:, None] - p[~y][None]
    order = (differences > 0) + 0.5 * (differences == 0)
    auroc = float(order.mean()) if order.size else math.nan
    place = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    reliability = []
    for index in range(RELIABILITY_BINS):
        inside = place == index
        empty = not inside.any()
        reliability.append(
            {
                "people": int(inside.sum()),
                "mean_p": math.nan if empty else float(p[inside].mean()),
                "share_above": math.nan if empty else float(y[inside].mean()),
            }
        )
    return {
        "above": int(y.sum()),
        "people": len(y),
        "brier": float(np.square(p - y).mean()),
        "auroc": auroc,
        "reliability": reliability,
    }
