"""Registration of PET: between the frames of one scan, and to the T1 of the same person.

By ANTs, Mattes mutual information (Mattes et al. 2003, IEEE TMI 22:120), seeded.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mri2pet.imaging.space.itk import Schedule, register_linear
from mri2pet.imaging.space.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.space.volume import Volume

FRAME_SMOOTHING_FWHM_MM = 5.0
WORKING_MM = 2.0
DEGREES_OF_FREEDOM = (6, 12)
FRAMES = Schedule(iterations=(60, 40), shrink=(2, 1), smoothing_voxels=(0, 0))
COARSE = Schedule(iterations=(100, 50), shrink=(4, 2), smoothing_voxels=(2, 1))
FINE = Schedule(iterations=(60, 30), shrink=(2, 1), smoothing_voxels=(1, 0))

#: The brain of one person does not change its size between two scans: an affine whose axes
#: scale by more than this has followed the uptake, not the anatomy.
MAX_AXIS_SCALING = 0.06

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_MASK_DILATION_MM = 6.0
_HISTOGRAM_BINS = 32


def smooth_frame(frame: np.ndarray, voxel_size_mm: np.ndarray) -> np.ndarray:
    """A frame as registration sees it: 5 mm FWHM smoother, its mean in the head 1.

    Noise differs between frames, and so does the activity that decay leaves.
    """
    from scipy.ndimage import gaussian_filter

    sigma = FRAME_SMOOTHING_FWHM_MM / _FWHM_PER_SIGMA / np.asarray(voxel_size_mm)
    smooth = gaussian_filter(np.clip(frame, 0.0, None).astype(np.float32, copy=False), sigma)
    return smooth / smooth[smooth > smooth.mean()].mean()


def register_rigid(fixed: Volume, moving: Volume, fixed_from_moving: np.ndarray) -> np.ndarray:
    """Refine the rigid transform between two frames that `smooth_frame` prepared.

    Returns:
        4 x 4, moving RAS mm → fixed RAS mm.
    """
    start = np.linalg.inv(fixed_from_moving)
    return np.linalg.inv(register_linear(fixed, moving, None, start, FRAMES, "Rigid"))


def register_to_t1(
    pet: Volume, t1: Volume, brain_mask: np.ndarray, degrees_of_freedom: int = 12
) -> np.ndarray:
    """Register a static PET to the T1 of the same person, inside the brain.

    Two starts are tried, the scanner coordinates of both files and equal centres of mass; the
    one with more mutual information after a coarse rigid registration is refined. An affine
    that scales an axis by more than 6 % is given up for a rigid transform.

    Args:
        pet: any unit, any grid.
        t1: on its own grid.
        brain_mask: bool `[X, Y, Z]` on the grid of `t1`.
        degrees_of_freedom: 6 (rigid) or 12 (affine).

    Returns:
        4 x 4, PET RAS mm → T1 RAS mm.

    Raises:
        ValueError: other degrees of freedom.
    """
    if degrees_of_freedom not in DEGREES_OF_FREEDOM:
        raise ValueError(f"degrees of freedom are 6 or 12, not {degrees_of_freedom}")
    brain, mask = working_brain(t1, brain_mask)
    uptake = Volume(np.clip(pet.data, 0.0, None), pet.affine)
    coarse: list[tuple[float, np.ndarray]] = []
    for start in _starts(brain, uptake):
        back = register_linear(brain, uptake, mask, np.linalg.inv(start), COARSE, "Rigid")
        found = np.linalg.inv(back)
        coarse.append((mutual_information(brain, mask, uptake, found), found))
    best = np.linalg.inv(max(coarse, key=lambda pair: pair[0])[1])

    def refine(kind: Literal["Rigid", "Affine"]) -> np.ndarray:
        return np.linalg.inv(register_linear(brain, uptake, mask, best, FINE, kind))

    if degrees_of_freedom == 6:
        return refine("Rigid")
    affine = refine("Affine")
    scaling = np.linalg.svd(affine[:3, :3], compute_uv=False)
    if np.abs(np.log(scaling)).max() <= np.log1p(MAX_AXIS_SCALING):
        return affine
    return refine("Rigid")


def mutual_information(
    fixed: Volume, mask: Volume, moving: Volume, fixed_from_moving: np.ndarray
) -> float:
    """Mutual information (nats) of two volumes where the mask exceeds 0.5, 32 x 32 bins."""
    moved = resample(
        moving.data,
        moving.affine,
        fixed.shape,
        fixed.affine,
        np.linalg.inv(fixed_from_moving),
    )
    inside = mask.data > 0.5
    joint = np.histogram2d(fixed.data[inside], moved[inside], bins=_HISTOGRAM_BINS)[0]
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def _starts(brain: Volume, uptake: Volume) -> list[np.ndarray]:
    """Fixed-from-moving shifts: none, and from the PET's centre of mass to the brain's."""
    shift = np.eye(4)
    shift[:3, 3] = centre_of_mass_mm(brain) - centre_of_mass_mm(uptake)
    return [np.eye(4), shift]


def centre_of_mass_mm(volume: Volume) -> np.ndarray:
    """Centre of mass of the values, RAS mm, shape [3]; the grid's centre when all are 0."""
    weights = volume.data.astype(np.float64, copy=False)
    total = float(weights.sum())
    index = [(n - 1) / 2 for n in volume.shape]
    if total > 0:
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            along = weights.sum(axis=others)
            index[axis] = float((along * np.arange(along.size)).sum() / total)
    return (volume.affine @ [*index, 1.0])[:3]


def working_brain(t1: Volume, brain_mask: np.ndarray) -> tuple[Volume, Volume]:
    """The brain, and its mask dilated by 6 mm, on a grid of about 2 mm."""
    from scipy.ndimage import binary_dilation

    margin = round((_MASK_DILATION_MM + WORKING_MM) / float(t1.voxel_size_mm.min()))
    box = bounding_box(brain_mask, margin)
    affine = crop_affine(t1.affine, box)
    cropped = brain_mask[box]
    factor = np.maximum(WORKING_MM / t1.voxel_size_mm, 1.0)
    x, y, z = (int(np.ceil(n / f)) for n, f in zip(cropped.shape, factor, strict=True))
    grid = affine @ np.diag([*factor, 1.0])
    brain = resample(t1.data[box] * cropped, affine, (x, y, z), grid)
    mask = resample(cropped, affine, (x, y, z), grid) > 0.5
    mask = binary_dilation(mask, iterations=round(_MASK_DILATION_MM / WORKING_MM))
    return Volume(brain, grid), Volume(mask.astype(np.float32), grid)
