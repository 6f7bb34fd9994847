"""Split-conformal intervals: right on average over exchangeable people, whatever the model.

Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World; Lei et al. 2018, JASA
113:1094. One score a person; with n people and level L the interval reaches to the
⌈(n + 1)L⌉-th smallest score. It promises nothing for one person in particular, another scanner or
another cohort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np

LEVELS = (0.5, 0.8, 0.9, 0.95)
Kind = Literal["plain", "scaled"]
CHOICE_LEVEL = 0.9  # of the interval score that chooses between the two kinds of score


def place(people: int, level: float) -> int:
    """Which of the sorted scores bounds the interval, counted from 1: ⌈(n + 1)·level⌉."""
    return math.ceil((people + 1) * Fraction(str(level)))


def people_needed(level: float) -> int:
    """The fewest people with a finite interval: ⌈1/α⌉ − 1, 9 for 90 % and 19 for 95 %."""
    return math.ceil(1 / (1 - Fraction(str(level)))) - 1


def bound(scores: np.ndarray, level: float) -> float:
    """The score that bounds the interval; infinite for fewer people than `people_needed`."""
    rank = place(len(scores), level)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def spread_floor(spread: np.ndarray) -> float:
    """s₀, the least spread that counts: the median, so that a tiny s gives no tiny interval."""
    return float(np.median(spread))


def plain_scores(mean: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """|y − m|, SUVR, `[P]` or `[P, R]`."""
    return np.abs(measured - mean)


def scaled_scores(
    mean: np.ndarray, spread: np.ndarray, measured: np.ndarray, floor: float | np.ndarray
) -> np.ndarray:
    """|y − m| / max(s, s₀), same shape; 0 where the error and the spread are 0."""
    scale = np.maximum(spread, floor)
    error = np.abs(measured - mean)
    return np.divide(error, scale, out=np.where(error > 0, np.inf, 0.0), where=scale > 0)


def joint_scores(mean: np.ndarray, spread: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The largest scaled score of each person over the regions: `[P, R]` → `[P]`.

    One bound of these holds for all regions at once. A region's unit is its spread, which knows
    nothing of the errors: a unit made from them would shorten the intervals of few people.
    """
    return scaled_scores(mean, spread, measured, np.median(spread, axis=0)).max(axis=1)


def interval_score(
    low: np.ndarray, high: np.ndarray, measured: np.ndarray, level: float
) -> np.ndarray:
    """Width + 2/α · the distance by which y lies outside, `[P]` (Gneiting & Raftery 2007, 43)."""
    outside = np.maximum(low - measured, 0) + np.maximum(measured - high, 0)
    return high - low + 2 / (1 - level) * outside


def half_width_plain(
    mean: np.ndarray, spread: np.ndarray, measured: np.ndarray, level: float, new: float
) -> float:
    """Half the interval, SUVR, of a new person with spread `new`, from the scores |y − m|."""
    return bound(plain_scores(mean, measured), level)


def half_width_scaled(
    mean: np.ndarray, spread: np.ndarray, measured: np.ndarray, level: float, new: float
) -> float:
    """The same from the scores scaled by the spread."""
    floor = spread_floor(spread)
    q = bound(scaled_scores(mean, spread, measured, floor), level)
    return q * max(new, floor) if math.isfinite(q) else math.inf


HALF_WIDTH: dict[Kind, Callable[..., float]] = {
    "plain": half_width_plain,
    "scaled": half_width_scaled,
}


def left_out_half_widths(
    kind: Kind, mean: np.ndarray, spread: np.ndarray, measured: np.ndarray, level: float
) -> np.ndarray:
    """Half the interval of each person, `[P]`, from all the others."""
    everyone = np.arange(len(mean))
    widths = []
    for person in everyone:
        others = everyone != person
        fitted = (mean[others], spread[others], measured[others])
        widths.append(HALF_WIDTH[kind](*fitted, level, float(spread[person])))
    return np.array(widths)


def left_out_scores(
    mean: np.ndarray, spread: np.ndarray, measured: np.ndarray
) -> dict[Kind, float]:
    """Kind of score → mean interval score at 90 %, SUVR, each person left out in turn."""
    scores: dict[Kind, float] = {}
    for kind in HALF_WIDTH:
        half = left_out_half_widths(kind, mean, spread, measured, CHOICE_LEVEL)
        score = interval_score(mean - half, mean + half, measured, CHOICE_LEVEL)
        scores[kind] = float(score.mean())
    return scores


def choose_score(mean: np.ndarray, spread: np.ndarray, measured: np.ndarray) -> Kind:
    """`plain`, or `scaled` where its interval score is lower.

    With too few people for a finite interval it is `plain`.
    """
    scores = left_out_scores(mean, spread, measured)
    return "scaled" if scores["scaled"] < scores["plain"] else "plain"
