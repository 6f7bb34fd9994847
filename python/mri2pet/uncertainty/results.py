"""What a synthesis may say of its own error: intervals where the model's calibration fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.engines.choose import Named
from mri2pet.quantification import Quantification
from mri2pet.quantification.composite import BUILT_IN
from mri2pet.quantification.measure import Region
from mri2pet.quantification.table import Measured
from mri2pet.uncertainty.calibration import (
    NOT_CALIBRATED,
    Calibration,
    read_calibration,
    settings_of,
    trained_on_simulated,
)
from mri2pet.uncertainty.people import CORTEX


@dataclass(frozen=True)
class ResultUncertainty:
    """For all results of one model and its settings.

    Attributes:
        calibration: None where there is none, or it was made for other settings.
        note: what the intervals are, or why there are none.
        simulated: the model was trained on simulated people.
    """

    calibration: Calibration | None
    note: str
    simulated: bool = False

    @classmethod
    def of(
        cls,
        model: Named | Sequence[Named],
        sha256: str,
        provenance: Mapping[str, Any],
        *,
        sampler: str,
        steps: int,
        samples: int,
    ) -> ResultUncertainty:
        """Of results drawn with these settings.

        Args:
            model: as the user named it, or an ensemble; its calibration lies in its folder.
            sha256, provenance: of the model.

        Raises:
            ModelError: the calibration is damaged, or another model's.
        """
        simulated = trained_on_simulated(provenance)
        calibration = read_calibration(model, sha256)
        if calibration is None:
            return cls(None, _not_calibrated("the model has no calibration"), simulated)
        here = settings_of(provenance, sampler=sampler, steps=steps, samples=samples)
        if misfits := calibration.misfits(here):
            return cls(None, _not_calibrated(", ".join(misfits)), simulated)
        return cls(calibration, calibration.label(simulated=simulated), simulated)

    @property
    def sha256(self) -> str | None:
        """Names the calibration that results depend on."""
        return None if self.calibration is None else self.calibration.sha256

    def residuals(self, name: str) -> list[float] | None:
        """Measured − synthetic SUVR of a region, of the people of the calibration, or None."""
        return None if self.calibration is None else list(self.calibration.regions[name].residuals)

    def of_region(self, name: str, samples: Sequence[float], mean: float) -> dict[str, Any]:
        """SUVR of the mean, SD (n − 1; None for one sample), samples, and interval or None.

        Args:
            samples: SUVR of each.
            mean: SUVR of their mean (`engines.mean`).
        """
        spread = float(np.std(samples, ddof=1)) if len(samples) > 1 else None
        interval = None
        if self.calibration is not None and spread is not None:
            interval = self.calibration.interval(name, mean, spread, simulated=self.simulated)
        return {
            "mean": mean,
            "sd_of_samples": spread,
            "samples": [float(value) for value in samples],
            "interval": interval,
        }

    def quantified(
        self,
        subject: str,
        session: str | None,
        regions: list[Region],
        what: Quantification,
        details: dict[str, Any] | None = None,
    ) -> Measured:
        """A person's synthetic regions, with what the calibration says of the composite.

        It speaks of the built-in composite alone.
        """
        interval, residuals = None, None
        if what.composite.key == BUILT_IN:
            composite = regions[0]
            assert composite.mean is not None
            found = self.of_region(CORTEX, composite.suvr, composite.mean)["interval"]
            interval = found and (found["low"], found["high"], found["level"])
            residuals = self.residuals(CORTEX)
        return Measured(
            *(subject, session, True, False, regions, details or {}),
            interval=interval,
            residuals=residuals,
        )


def _not_calibrated(reason: str) -> str:
    return f"{NOT_CALIBRATED}: {reason}; the spread of the samples is not an error bar"
