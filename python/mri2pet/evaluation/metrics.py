"""Image metrics of a predicted PET against the measured one, in 3D and inside the brain."""

from __future__ import annotations

import math

import numpy as np

DATA_RANGE_SUVR = 2.5
"""What PSNR and SSIM take as the range of a PET: SUVR 0 to 2.5 holds grey and white matter of
amyloid-negative and -positive brains. A constant, so that figures of different cohorts compare."""

SSIM_SIGMA_VOXELS = 1.5
SSIM_TRUNCATE = 3.5
_K1, _K2 = 0.01, 0.03


def mean_absolute_error(predicted: np.ndarray, measured: np.ndarray, brain: np.ndarray) -> float:
    """Mean |predicted − measured| (SUVR) over the brain.

    Args:
        predicted, measured: `[K, I, J]`, SUVR.
        brain: bool `[K, I, J]`.

    Raises:
        ValueError: shapes differ or the brain is empty.
    """
    predicted, measured = _checked(predicted, measured, brain)
    return float(np.abs(predicted[brain] - measured[brain]).mean())


def psnr(
    predicted: np.ndarray,
    measured: np.ndarray,
    brain: np.ndarray,
    data_range: float = DATA_RANGE_SUVR,
) -> float:
    """Peak signal-to-noise ratio over the brain, dB: 10 log10(range² / mean squared error).

    Infinite for equal volumes. Arguments and errors as `mean_absolute_error`.
    """
    predicted, measured = _checked(predicted, measured, brain)
    error = float(np.square(predicted[brain] - measured[brain]).mean())
    return 10 * math.log10(data_range**2 / error) if error > 0 else math.inf


def ssim(
    predicted: np.ndarray,
    measured: np.ndarray,
    brain: np.ndarray,
    data_range: float = DATA_RANGE_SUVR,
) -> float:
    """Structural similarity in 3D: the mean of `ssim_map` over the brain.

    Arguments and errors as `mean_absolute_error`.
    """
    predicted, measured = _checked(predicted, measured, brain)
    return float(ssim_map(predicted, measured, data_range)[brain].mean())


def ssim_map(
    predicted: np.ndarray, measured: np.ndarray, data_range: float = DATA_RANGE_SUVR
) -> np.ndarray:
    """Structural similarity at every voxel, float64 `[K, I, J]`.

    Wang et al. 2004 (IEEE Transactions on Image Processing 13:600), equation 13, with its
    constants K1 = 0.01 and K2 = 0.03 and its Gaussian window (σ = 1.5 voxels, here 11³ voxels),
    population variances; mirrored at the borders.
    """
    from scipy.ndimage import gaussian_filter

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, SSIM_SIGMA_VOXELS, truncate=SSIM_TRUNCATE)

    x, y = predicted.astype(np.float64), measured.astype(np.float64)
    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x**2
    variance_y = smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return numerator / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


def _checked(
    predicted: np.ndarray, measured: np.ndarray, brain: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if not predicted.shape == measured.shape == brain.shape:
        raise ValueError(
            f"shapes differ: predicted {predicted.shape}, measured {measured.shape}, "
            f"brain {brain.shape}"
        )
    if brain.dtype != bool or not brain.any():
        raise ValueError("the brain mask must be boolean and not empty")
    return np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
