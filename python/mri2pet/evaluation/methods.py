"""The predictions that an evaluation compares, and their figures for one subject."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from mri2pet.evaluation.metrics import mean_absolute_error, psnr, ssim
from mri2pet.imaging.space.model_space import dilate_soft
from mri2pet.imaging.suvr.regions import cortical_suvr

METHODS = ("one_sample", "mean_of_samples", "cohort_mean", "cohort_mean_warped", "linear_map")


@dataclass(frozen=True)
class MethodFigures:
    """One method on one subject: MAE (SUVR), SSIM, PSNR (dB) and cortical SUVR."""

    mae: float
    ssim: float
    psnr: float
    cortical_suvr: float

    def as_dict(self) -> dict[str, float]:
        """Name → value."""
        return asdict(self)


def compare(predicted: np.ndarray, measured: np.ndarray, brain: np.ndarray) -> MethodFigures:
    """The figures of one prediction.

    Args:
        predicted, measured: `[K, I, J]`, SUVR, as `within_support` leaves them.
        brain: `[K, I, J]`, fraction of brain; voxels above 0.5 count.
    """
    inside = brain > 0.5
    return MethodFigures(
        mae=mean_absolute_error(predicted, measured, inside),
        ssim=ssim(predicted, measured, inside),
        psnr=psnr(predicted, measured, inside),
        cortical_suvr=cortical_suvr(predicted),
    )


def within_support(predicted: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """A prediction where a measured PET in model space has values: SUVR ≥ 0 in the dilated brain.

    Every method is treated alike, so none gains or loses by what it draws outside the brain.
    """
    return np.clip(predicted, 0, None) * dilate_soft(np.asarray(brain, dtype=np.float32))
