"""Intensity non-uniformity (N4; Tustison et al. 2010, IEEE TMI 29:1310)."""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.space import itk
from mri2pet.imaging.space.volume import Volume

SHRINK = 4
SPLINE_KNOTS_MM = 200


def bias_field(volume: Volume, mask: np.ndarray, iterations: tuple[int, ...]) -> np.ndarray:
    """The smooth multiplicative field of an image, by N4 with shrink factor 4.

    Args:
        volume: T1, values ≥ 0.
        mask: bool `[X, Y, Z]`, where the field is estimated.
        iterations: at most this many per resolution level; knots are 200 mm apart on the
            first level and half as far on each next one.

    Returns:
        float32 `[X, Y, Z]` on the same grid, geometric mean 1 inside the mask.
    """
    field = itk.bias_field(volume, mask, iterations, SHRINK, SPLINE_KNOTS_MM)
    inside = field[mask]
    field = field / np.exp(np.log(np.maximum(inside, 1e-6)).mean())
    return np.clip(field, 0.1, 10.0).astype(np.float32, copy=False)
