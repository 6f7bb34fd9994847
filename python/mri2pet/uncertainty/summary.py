"""How sure a model's samples are, and how right: the numbers of an evaluation's people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.imaging.suvr.regions import regional_suvr
from mri2pet.quantification.status import Threshold
from mri2pet.uncertainty.calibration import Calibration
from mri2pet.uncertainty.conformal import LEVELS
from mri2pet.uncertainty.people import CORTEX, People
from mri2pet.uncertainty.scores import (
    Coverage,
    climatology_crps,
    coverage,
    crps,
    flatness_p,
    rank_counts,
    raw_interval,
    spread_skill,
    spread_skill_of_moments,
    status_scores,
)


@dataclass(frozen=True, eq=False)
class Climatology:
    """The training people's measured PETs, first scans: what to expect without the MRI.

    Attributes:
        cohort: key of their cohort, as in an evaluation's settings.
        subjects: their names, N of them.
        suvr: region → `[N]`.
    """

    cohort: str
    subjects: list[str]
    suvr: dict[str, np.ndarray]

    def own(self, people: People) -> np.ndarray:
        """Bool `[P, N]`: which values are the same person's."""
        if people.settings["cohort"] != self.cohort:
            return np.zeros((len(people), len(self.subjects)), dtype=bool)
        return np.array(people.subjects)[:, None] == np.array(self.subjects)[None]


@dataclass(frozen=True)
class RegionSummary:
    """One region over the people; SUVR where a unit is due.

    Attributes:
        sd_of_samples: mean of the people's SDs.
        rmse, mae: of the mean of the samples.
        spread_skill: 1 is right, below is too sure.
        crps, crps_fair: means over the people.
        crps_climatology: fair, of giving everybody the other training people's values; NaN
            without two of them.
        ranks: `[K + 1]` counts; ranks_p: χ², that they are flat.
        raw: coverage of mean ± z · SD. calibrated: of the model's calibration; empty without one.
    """

    sd_of_samples: float
    rmse: float
    mae: float
    spread_skill: float
    crps: float
    crps_fair: float
    crps_climatology: float
    ranks: list[int]
    ranks_p: float
    raw: list[Coverage]
    calibrated: list[Coverage]

    @property
    def skill(self) -> float:
        """1 − CRPS / CRPS of climatology, both fair: above 0 the samples know something."""
        if not self.crps_climatology > 0:
            return math.nan
        return 1 - self.crps_fair / self.crps_climatology


@dataclass(frozen=True)
class Status:
    """Scores of P(SUVR of `composite` > the threshold's), see `scores.status_scores`.

    `source` says where the probabilities come from.
    """

    threshold: Threshold
    composite: str
    source: str
    scores: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """Regions in the order of the evaluation, "cortex" first; voxels' spread–skill; status."""

    people: int
    samples: int
    regions: dict[str, RegionSummary]
    voxels: float
    status: Status | None


def summarise(
    people: People,
    climatology: Climatology | None = None,
    calibration: Calibration | None = None,
    status: Status | None = None,
) -> Summary:
    """The numbers.

    Args:
        climatology: None where the training split has no usable PET.
        calibration: of the model, made from other people.
        status: where a threshold is named, see `status_of`.
    """
    voxels, count = people.voxels, people.voxels["count"]
    return Summary(
        people=len(people),
        samples=people.samples,
        regions={name: _region(people, name, climatology, calibration) for name in people.measured},
        voxels=spread_skill_of_moments(
            voxels["variance"] / count, voxels["squared_error"] / count, people.samples
        ),
        status=status,
    )


def status_of(
    drawn: np.ndarray,
    mean: np.ndarray,
    measured: np.ndarray,
    threshold: Threshold,
    composite: str = CORTEX,
    calibration: Calibration | None = None,
) -> Status:
    """How good the probabilities of a composite above a threshold are.

    Args:
        drawn: SUVR of every sample, `[P, K]`; mean: of their mean, `[P]`; measured: of the
            measured PET, `[P]`.
        composite: its name.
        calibration: of the built-in composite, made from other people; without one the
            probability is the share of the samples.
    """
    if calibration is None:
        source = "share of the samples, not calibrated"
        probability = (drawn > threshold.suvr).mean(axis=1)
    else:
        source = "mean of the samples and the calibration's residuals"
        probability = np.array([calibration.probability_above(m, threshold.suvr) for m in mean])
    scores = status_scores(probability, measured > threshold.suvr)
    return Status(threshold, composite, source, scores)


def climatology_of(cohort: CohortCache) -> Climatology | None:
    """Of the training split of a cohort; None where it has no usable PET."""
    first = {row.subject: row for row in reversed(cohort.rows("train"))}
    levels = [regional_suvr(np.asarray(cohort.pet(row), np.float32)) for row in first.values()]
    if not levels:
        return None
    suvr = {name: np.array([of[name] for of in levels]) for name in levels[0]}
    return Climatology(cohort.settings["cohort"], list(first), suvr)


def _region(
    people: People,
    name: str,
    climatology: Climatology | None,
    calibration: Calibration | None,
) -> RegionSummary:
    drawn, measured = people.drawn[name], people.measured[name]
    mean, spread = people.mean[name], people.spread[name]
    ranks = rank_counts(drawn, measured)
    without_mri = math.nan
    if climatology is not None:
        own = climatology.own(people)
        without_mri = float(climatology_crps(climatology.suvr[name], measured, own).mean())
    return RegionSummary(
        sd_of_samples=float(spread.mean()),
        rmse=float(np.sqrt(np.square(mean - measured).mean())),
        mae=float(np.abs(mean - measured).mean()),
        spread_skill=spread_skill(drawn, measured),
        crps=float(crps(drawn, measured).mean()),
        crps_fair=float(crps(drawn, measured, fair=True).mean()),
        crps_climatology=without_mri,
        ranks=ranks.tolist(),
        ranks_p=flatness_p(ranks),
        raw=[coverage(level, *raw_interval(mean, spread, level), measured) for level in LEVELS],
        calibrated=[] if calibration is None else _calibrated(people, name, calibration),
    )


def _calibrated(people: People, name: str, calibration: Calibration) -> list[Coverage]:
    mean, measured, found = people.mean[name], people.measured[name], []
    for level in LEVELS:
        half = np.array([calibration.half_width(name, s, level) for s in people.spread[name]])
        found.append(coverage(level, mean - half, mean + half, measured))
    return found
