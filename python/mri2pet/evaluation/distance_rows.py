"""FID, FID∞ and KID of several drawn sets against one measured set, with intervals over people."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mri2pet.evaluation.distances import Moments, PeopleKernel, extrapolated, fid, fid_of_moments
from mri2pet.evaluation.intervals import (
    RESAMPLES,
    Estimate,
    draw_counts,
    jackknife,
    percentile_limits,
)

GROUPS = 20
KID_SCALE = 1000
_SHARES = (4, 3, 2, 1)
_FEWEST_FOR_LINE = 8

People = list[np.ndarray]
"""Features [slices, D] of each person."""


@dataclass(frozen=True)
class Distance:
    """Of one drawn set.

    Attributes:
        fid: with a delete-a-group jackknife interval.
        fid_infinity: where the straight line of FID over 1/n meets 0; NaN below 8 people.
        kid: × 1000, percentile interval over people.
        slices: of the drawn set.
        fid_left_out: FID without each group of people.
        kid_draws: × 1000, of the resamples of people.
    """

    fid: Estimate
    fid_infinity: float
    kid: Estimate
    slices: int
    fid_left_out: list[float]
    kid_draws: np.ndarray


def distances_of(
    measured: People,
    drawn: dict[str, People],
    others: dict[str, People],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Distance]:
    """The distances of every set to `measured`.

    Args:
        drawn: sets of the same people in the same order.
        others: sets of other people, as the floor.

    Where there are too few slices or people, or features that are not finite, a distance or its
    interval is NaN.
    """
    sets = {**drawn, **others}
    fids = {name: [] for name in sets}  # type: dict[str, list[float]]
    lines = {name: [] for name in sets}  # type: dict[str, list[tuple[int, float]]]
    groups = min(GROUPS, len(measured))
    whole = _fids(measured, sets, None)
    for g in range(groups if len(measured) > 1 else 0):
        for name, value in _fids(measured, sets, (g, groups)).items():
            fids[name].append(value)
    for share in _SHARES if len(measured) >= _FEWEST_FOR_LINE else ():
        found = whole if share == 1 else _fids(measured, sets, None, share)
        for name, value in found.items():
            lines[name].append((_slices(_first(sets[name], share)), value))
    result = {}
    for name, people in sets.items():
        kid, draws = _kid(measured, people, name in drawn, resamples, seed)
        infinity = math.nan
        finite = all(math.isfinite(value) for _, value in lines[name])
        if finite and len({n for n, _ in lines[name]}) > 1:
            infinity = extrapolated(*zip(*lines[name], strict=True))[0]
        result[name] = Distance(
            jackknife(whole[name], fids[name]), infinity, kid, _slices(people), fids[name], draws
        )
    return result


def difference(first: Distance, second: Distance) -> tuple[Estimate, Estimate]:
    """FID and KID of the first less those of the second, with intervals of the paired difference.

    The same groups of people are left out, and the same people drawn, on both sides.
    """
    left_out = [a - b for a, b in zip(first.fid_left_out, second.fid_left_out, strict=True)]
    fids = jackknife(first.fid.value - second.fid.value, left_out)
    kid = first.kid.value - second.kid.value
    if not (math.isfinite(kid) and first.kid_draws.size == second.kid_draws.size):
        return fids, Estimate(kid, math.nan, math.nan)
    draws = first.kid_draws - second.kid_draws
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return fids, Estimate(kid, math.nan, math.nan)
    return fids, Estimate(kid, *percentile_limits(draws), kind="percentile")


def _fids(
    measured: People, sets: dict[str, People], without: tuple[int, int] | None, share: int = 1
) -> dict[str, float]:
    """FID of every set to `measured`, without a group of people or of the first 1/share of them.

    NaN where fewer than two slices are left, or a feature is not finite.
    """

    def chosen(people: People) -> np.ndarray:
        kept = _first(people, share)
        if without is not None:
            kept = [rows for n, rows in enumerate(kept) if n % without[1] != without[0]]
        return np.concatenate([measured[0][:0], *kept])

    def usable(rows: np.ndarray) -> bool:
        return len(rows) > 1 and bool(np.isfinite(rows).all())

    real = chosen(measured)
    rows = {name: chosen(people) for name, people in sets.items()}
    found = dict.fromkeys(rows, math.nan)
    rows = {name: r for name, r in rows.items() if usable(real) and usable(r)}
    if not rows:
        return found
    if min(len(real), *(len(r) for r in rows.values())) <= real.shape[1]:
        return found | {name: fid(real, r) for name, r in rows.items()}
    moments = Moments.of(real)  # its root, the costly part, is taken once for all sets
    return found | {name: fid_of_moments(moments, Moments.of(r)) for name, r in rows.items()}


def _first(people: People, share: int) -> People:
    """The first 1/share of the people, in an order drawn by a fixed seed."""
    order = np.random.default_rng(0).permutation(len(people))
    return [people[i] for i in order[: max(1, len(people) // share)]]


def _slices(people: People) -> int:
    return sum(len(rows) for rows in people)


def _kid(
    measured: People, drawn: People, same_people: bool, resamples: int, seed: int
) -> tuple[Estimate, np.ndarray]:
    sums = PeopleKernel.of(measured, drawn, same_people=same_people)
    n, m = len(measured), len(drawn)
    value = KID_SCALE * float(sums.kid(np.ones(n), np.ones(m)))
    if min(n, m) < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan), np.zeros(0)
    counts = draw_counts(n, resamples, seed)
    others = counts if same_people else draw_counts(m, resamples, seed + 1)
    draws = KID_SCALE * sums.kid(counts, others)
    finite = draws[np.isfinite(draws)]
    limits = percentile_limits(finite) if finite.size else (math.nan, math.nan)
    return Estimate(value, *limits, kind="percentile"), draws
