"""Scores of many seeds with intervals over people and seeds, and differences between settings.

Both are drawn with replacement, 10,000 times: a draw's value is the mean over its seeds of the
score of its people. All settings share the draws, so a difference is taken draw by draw. Intervals
are percentiles, since BCa is not defined for two ways at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mri2pet.downstream.scores import HIGH_IS_BETTER, OfDraws, class_scores, number_scores
from mri2pet.downstream.settings import CONTROL, MRI_ALONE, REFERENCE
from mri2pet.evaluation.as_paper import PlusMinus
from mri2pet.evaluation.hypothesis import holm
from mri2pet.evaluation.intervals import RESAMPLES, Estimate, draw_counts, percentile_limits
from mri2pet.evaluation.significance import Difference

SEEDS_DRAWN = 1  # names the draws of seeds, beside 0 of those of people


@dataclass(frozen=True)
class Scored:
    """One score of one setting.

    Attributes:
        of_seeds: [S], of the people as they are.
        draws: [B], two ways.
        estimate: the mean over seeds, and its interval.
        se_seeds: of seeds, the people as they are: SD / √S; NaN for one seed.
        se_people: of people, the seeds as they are.
    """

    of_seeds: np.ndarray
    draws: np.ndarray
    estimate: Estimate
    se_seeds: float
    se_people: float

    @property
    def as_paper(self) -> PlusMinus:
        """Mean over seeds and SD (over n) / √n, which the paper prints."""
        seeds = self.of_seeds
        return PlusMinus(float(seeds.mean()), float(seeds.std()) / math.sqrt(len(seeds)))


def score_setting(records: Sequence[dict[str, Any]]) -> dict[str, Scored]:
    """The scores of one setting from the results of its seeds, all of the same scans."""
    people = records[0]["subjects"]
    counts = draw_counts(len(set(people)), RESAMPLES)
    picks = draw_counts(len(records), RESAMPLES, SEEDS_DRAWN) / len(records)
    scores = [_scores(record) for record in records]
    return {name: _scored([s[name] for s in scores], counts, picks) for name in scores[0]}


def _scores(record: dict[str, Any]) -> dict[str, OfDraws]:
    truth, people = record["truth"], record["subjects"]
    if record["classes"]:
        return class_scores([int(t) for t in truth], np.array(record["predicted"]), people)
    return number_scores(truth, record["predicted"], people)


def _scored(scores: Sequence[OfDraws], counts: np.ndarray, picks: np.ndarray) -> Scored:
    everybody = np.ones((1, counts.shape[1]))
    of_seeds = np.array([float(score(everybody)[0]) for score in scores])
    of_draws = np.stack([score(counts) for score in scores], axis=1)
    return two_ways(of_seeds, of_draws, picks)


def two_ways(of_seeds: np.ndarray, of_draws: np.ndarray, picks: np.ndarray) -> Scored:
    """A score of S seeds from its values for B draws of people.

    Args:
        of_seeds: [S].
        of_draws: [B, S]; NaN where a draw does not define it.
        picks: [B, S], the share of each seed in each draw.
    """
    draws = (of_draws * picks).sum(axis=1)
    value, kept = float(of_seeds.mean()), draws[np.isfinite(draws)]
    low, high, kind = math.nan, math.nan, ""
    if math.isfinite(value) and kept.size and np.ptp(kept) > 0:
        (low, high), kind = percentile_limits(kept), "percentile"
    few = len(of_seeds) < 2
    of_people = of_draws.mean(axis=1)
    of_people = of_people[np.isfinite(of_people)]
    return Scored(
        of_seeds,
        draws,
        Estimate(value, low, high, kind),
        math.nan if few else float(of_seeds.std(ddof=1)) / math.sqrt(len(of_seeds)),
        float(of_people.std(ddof=1)) if of_people.size > 1 else math.nan,
    )


def differences(
    scored: dict[str, dict[str, Scored]], metrics: Sequence[str], titles: dict[str, str]
) -> list[Difference]:
    """Of Real Paired, Real MRI and the control to every other setting, on the same draws.

    p is twice the share of draws on the rarer side of 0 (and at least 2 / 10,001), adjusted by
    Holm over the settings that are compared with one.

    Args:
        scored: setting → score → values.
        titles: setting → name in the table.
    """
    found: list[Difference] = []
    for first in (REFERENCE, MRI_ALONE, CONTROL):
        if first not in scored:
            continue
        others = [key for key in scored if key != first]
        for metric in metrics:
            tests = [
                replace(
                    difference(metric, scored[first][metric], scored[other][metric]),
                    first=titles[first],
                    second=titles[other],
                )
                for other in others
            ]
            adjusted = holm([test.p for test in tests])
            found += [replace(t, p_holm=p) for t, p in zip(tests, adjusted, strict=True)]
    return found


def difference(metric: str, first: Scored, second: Scored) -> Difference:
    """The first less the second, draw by draw."""
    gap = first.estimate.value - second.estimate.value
    draws = first.draws - second.draws
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(gap) or not draws.size or not np.ptp(draws) > 0:
        return Difference(metric, "", "", Estimate(gap, math.nan, math.nan))
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Difference(
        metric,
        "",
        "",
        Estimate(gap, *percentile_limits(draws), "percentile"),
        p=min(1.0, 2 * (rarer + 1) / (draws.size + 1)),
        high_is_better=HIGH_IS_BETTER[metric],
    )
