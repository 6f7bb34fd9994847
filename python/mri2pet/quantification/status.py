"""How probable it is that a measured PET would exceed a named threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.errors import UsageError

LITTLE = "An MRI alone tells little about amyloid."


@dataclass(frozen=True)
class Threshold:
    """A cortical SUVR with the name of whoever set it."""

    name: str
    suvr: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """`NAME=SUVR`.

        Raises:
            UsageError: no name, or no positive number behind the last `=`.
        """
        name, equals, number = text.rpartition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"--threshold {text}: has no name; write NAME=SUVR, such as 'our laboratory=1.17', "
                "since a threshold holds for one way of measuring alone"
            )
        try:
            suvr = float(number)
        except ValueError:
            suvr = 0.0
        if not 0 < suvr < float("inf"):
            raise UsageError(f"--threshold {text}: {number!r} is no SUVR above 0; write NAME=SUVR")
        return cls(" ".join(name.split()), suvr)

    @property
    def question(self) -> str:
        """What a probability is of."""
        return (
            "probability that a measured PET, quantified this way, would exceed "
            f"{self.name} ({self.suvr:g} SUVR)"
        )

    def heading(self, calibrated: bool) -> str:
        """Of a column of probabilities, never of both kinds."""
        kind = "" if calibrated else ", uncalibrated"
        return f"P(SUVR > {self.name} {self.suvr:g}{kind})"

    def record(self) -> dict[str, Any]:
        """What is asked, for a description of values."""
        return {"name": self.name, "suvr": self.suvr, "question": self.question, "note": LITTLE}


@dataclass(frozen=True)
class Probability:
    """A probability, never without how it came about; `value` is None where there is none."""

    value: float | None
    calibrated: bool
    note: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        p = None if self.value is None else round(self.value, 4)
        return {"p": p, "calibrated": self.calibrated, "note": self.note}


def share_above(mean: float, residuals: Sequence[float] | np.ndarray, suvr: float) -> float:
    """P(a measured SUVR > `suvr`): the share of mean + residual above it.

    A conformal predictive system (Vovk et al. 2019, Machine Learning 108:445). It never says
    never: the share is kept within 1/(n + 1) … n/(n + 1).

    Args:
        mean: cortical SUVR of the mean of a person's samples (`engines.mean`).
        residuals: measured less this, SUVR, signed, of n people of a calibration.
    """
    count = len(residuals)
    share = float((mean + np.asarray(residuals) > suvr).mean())
    return min(max(share, 1 / (count + 1)), count / (count + 1))


def probability_above(
    samples: Sequence[float],
    mean: float,
    threshold: Threshold,
    residuals: Sequence[float] | None = None,
) -> Probability:
    """P(measured SUVR > threshold) of one person.

    Without residuals it is the share of the samples, which is too sure where the model's samples
    are too much alike. With them it is `share_above`.

    Args:
        samples, mean: cortical SUVR of each drawn PET and of their mean.
        residuals: measured less mean (SUVR), signed, of n people of a calibration with the same
            settings and composite.

    Returns:
        A value of None for a single sample without residuals.

    Raises:
        ValueError: no samples, or an empty calibration.
    """
    if len(samples) == 0 or (residuals is not None and len(residuals) == 0):
        raise ValueError("a probability needs at least one sample and one residual")
    values = np.asarray(samples, dtype=np.float64)
    if residuals is None:
        if len(values) < 2:
            return Probability(None, False, "one sample tells no probability")
        share = float((values > threshold.suvr).mean())
        return Probability(
            share, False, f"share of {len(values)} samples, not calibrated against measured PETs"
        )
    share = share_above(mean, residuals, threshold.suvr)
    return Probability(share, True, f"residuals of {len(residuals)} people of the calibration")
