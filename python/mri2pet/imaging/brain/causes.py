"""Why a brain was not found, looked for when a check has failed."""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.brain.checks import MASK_VOLUME_ML, MAX_LINEAR_SCALE
from mri2pet.imaging.brain.registration import working_volume
from mri2pet.imaging.brain.starts import OTHER_SIZES, SIZES, best_score
from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.space.volume import Volume

MIN_GAIN = 0.03
MAX_BACKGROUND = 0.3
MAX_EMPTY = 0.03


def cause(subject: Volume, template_from_subject: np.ndarray) -> str | None:
    """What is wrong with an image whose registration failed, as the rest of a sentence.

    Looked for in this order: a brain of another size than an adult's, a background as bright as
    tissue, empty slices or a cut through the brain.

    Args:
        subject: the whole image, axes near R, A, S.
        template_from_subject: 4 x 4, subject mm → template mm, as found.

    Returns:
        None when nothing of this is seen.
    """
    return _size(subject) or _background(subject.data) or _empty(subject, template_from_subject)


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


def _empty(subject: Volume, template_from_subject: np.ndarray) -> str | None:
    mask = template_mask(2)
    nothing = resample(
        (subject.data == 0).astype(np.float32),
        subject.affine,
        mask.shape,
        mask.affine,
        np.linalg.inv(template_from_subject),
    )
    share = float((nothing[mask.data > 0] > 0.5).mean())
    if share < MAX_EMPTY:
        return None
    return (
        f"{100 * share:.0f} % of the place of the brain holds zeros, so it is cut (by defacing, "
        "or slices are missing); give a T1 with the whole brain"
    )
