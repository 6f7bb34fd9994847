"""Whether a brain mask reaches into the fat of the scalp."""

from __future__ import annotations

from functools import cache

import numpy as np

from mri2pet.imaging.space.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.space.template import grid_around, template_wm
from mri2pet.imaging.space.volume import Volume

RIM_MM = 3
#: Fat and white matter are the brightest in a T1; this much brighter than white matter is fat.
FAT_TO_WHITE = 1.15

_MARGIN_MM = 12


def bright_rim(brain: Volume, mask: np.ndarray, template_from_subject: np.ndarray) -> float:
    """Share of a mask's outer 3 mm that is as bright as fat, 0 to 1.

    The level is `FAT_TO_WHITE` times the median of what is deep white matter in the template.
    Both are looked at on the template's axes at 1 mm, where a layer of voxels is 1 mm.

    Args:
        brain: bias-corrected T1 around the brain.
        mask: bool brain mask on the same grid.
        template_from_subject: 4 x 4, subject mm → template mm.
    """
    from scipy.ndimage import binary_erosion

    shape, affine = grid_around(_MARGIN_MM)
    back = np.linalg.inv(template_from_subject)
    near = mask.astype(np.float32)
    inside = resample(near, brain.affine, shape, affine, back) > 0.5
    box = bounding_box(inside, margin=1)
    inside = inside[box]
    inner = binary_erosion(inside, iterations=RIM_MM)
    rim, white = inside & ~inner, inner & _white()[box]
    if not rim.any() or not white.any():
        return 0.0
    there = crop_affine(affine, box)
    values = resample(brain.data, brain.affine, inside.shape, there, back)
    return float(np.mean(values[rim] > FAT_TO_WHITE * np.median(values[white])))


@cache
def _white() -> np.ndarray:
    """Deep white matter of the template, bool on the 1 mm grid with its margin (the 2 mm
    template, as the 1 mm one takes seconds to load)."""
    from scipy.ndimage import binary_erosion

    white = template_wm(2)
    shape, affine = grid_around(_MARGIN_MM)
    fine = resample(white.data, white.affine, shape, affine)
    return binary_erosion(fine > 0.9, iterations=2)
