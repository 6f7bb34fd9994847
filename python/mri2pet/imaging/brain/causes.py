"""Why a brain was not found, looked for when a check has failed."""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.brain.checks import MASK_VOLUME_ML, MAX_LINEAR_SCALE
from mri2pet.imaging.brain.registration import working_volume
from mri2pet.imaging.brain.starts import OTHER_SIZES, SIZES, best_score
from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.space.volume import Volume

MIN_GAIN = 0.03
MAX_BACKGROUND = 0.3
AXES = ("left to right", "back to front", "bottom to top")


def cause(subject: Volume) -> str | None:
    """What is wrong with an image whose registration failed, as the rest of a sentence.

    Looked for in this order: a brain of another size than an adult's, a background as bright as
    tissue, empty slices between others.

    Args:
        subject: the whole image, axes near R, A, S.

    Returns:
        None when nothing of this is seen.
    """
    return _size(subject) or _background(subject.data) or _empty(subject.data)


def _size(subject: Volume) -> str | None:
    head = working_volume(subject)
    head = Volume(np.maximum(head.data, 0.0), head.affine)
    usual = max(best_score(head, size) for size in SIZES)
    found = {size: best_score(head, size) for size in OTHER_SIZES}
    size = max(found, key=lambda s: found[s])
    if found[size] < usual + MIN_GAIN:
        return None
    mask = template_mask(2)
    volume = np.count_nonzero(mask.data) * mask.voxel_volume_ml / size**3
    low, high = MASK_VOLUME_ML
    small = size > 1
    limit = f"at least {low:.0f} ml is needed" if small else f"at most {high:.0f} ml is possible"
    return (
        f"its brain is too {'small' if small else 'large'} for the template of adults (about "
        f"{volume:.0f} ml, {limit}; size ratio about {size:.2f}, "
        f"{1 / MAX_LINEAR_SCALE:.2f} to {MAX_LINEAR_SCALE} is possible); give the T1 of an adult, "
        "or check its voxel sizes"
    )


def _background(data: np.ndarray) -> str | None:
    faces = np.concatenate(
        [np.take(data, end, axis=axis).ravel() for axis in range(3) for end in (0, -1)]
    )
    top = float(np.percentile(data[::3, ::3, ::3], 99))
    share = float(np.median(faces)) / top if top > 0 else 0.0
    if share < MAX_BACKGROUND:
        return None
    return (
        f"its background is nearly as bright as tissue ({100 * share:.0f} % of the 99th "
        "percentile), as in the uniform image of an MP2RAGE; give one with the background removed"
    )


def _empty(data: np.ndarray) -> str | None:
    for axis, name in enumerate(AXES):
        others = tuple(a for a in range(3) if a != axis)
        held = np.flatnonzero((data != 0).any(axis=others))
        missing = int(held[-1] - held[0] + 1 - held.size) if held.size else 0
        if missing:
            return (
                f"{missing} slices between others hold only zeros (from {name}), so slices are "
                "missing; give a T1 with all of them"
            )
    return None
