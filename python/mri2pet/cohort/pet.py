"""The measured PET of a cohort: from its frames to one volume, and onto its MRI."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.volume import Volume

WORKING_MM = 2.0


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values float32 of any shape, and the affine (voxel index → RAS mm), as the file has them.

    Raises:
        InputError: the file is missing or cannot be read whole.
    """
    from mri2pet.imaging.reading import open_image
    from mri2pet.imaging.refusals import truncated

    image, name = open_image(path)
    try:
        return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine)
    except (EOFError, OSError, ValueError, zlib.error):
        raise InputError(truncated(name)) from None


def static_pet(path: Path) -> Volume:
    """A PET of one or several frames as one volume: the mean over the frames, in its raw unit.

    Raises:
        InputError: unreadable, not 3D or 4D, or without finite positive values.
    """
    data, affine = read_image(path)
    if data.ndim == 4:
        data = data.mean(axis=3, dtype=np.float32)
    if data.ndim != 3:
        raise InputError(f"{path}: has {data.ndim} axes; a PET has 3, or 4 with its frames.")
    if not np.isfinite(data).all() or not (data > 0).any():
        raise InputError(f"{path}: holds no PET signal or values that are not finite.")
    return Volume(data, affine, "raw PET")


def register_to_t1(pet: Volume, t1: Volume, brain_mask: np.ndarray) -> np.ndarray:
    """The rigid transform of a static PET to the T1 of the same subject.

    Mattes mutual information inside the brain, by ANTs, at 2 mm.

    Args:
        pet: any unit.
        t1: on its own grid.
        brain_mask: bool `[X, Y, Z]` on the grid of `t1`.

    Returns:
        4 × 4, PET RAS mm → T1 RAS mm.
    """
    import ants

    from mri2pet.imaging.itk import RANDOM_SEED, moving_from_fixed, scratch, to_ants

    fixed, mask = _working_brain(t1, brain_mask)
    with scratch() as folder:
        result = ants.registration(
            fixed=to_ants(fixed),
            moving=to_ants(Volume(np.clip(pet.data, 0, None), pet.affine)),
            mask=to_ants(mask),
            type_of_transform="Rigid",
            outprefix=str(folder / "rigid"),
            random_seed=RANDOM_SEED,
        )
        pet_from_t1 = moving_from_fixed(ants.read_transform(result["fwdtransforms"][0]))
    return np.linalg.inv(pet_from_t1)


def _working_brain(t1: Volume, brain_mask: np.ndarray) -> tuple[Volume, Volume]:
    """The brain and its mask dilated by about 6 mm, on a grid of about 2 mm."""
    from scipy.ndimage import binary_dilation

    box = bounding_box(brain_mask, margin=round(8 / float(t1.voxel_size_mm.min())))
    affine = crop_affine(t1.affine, box)
    factor = np.maximum(WORKING_MM / t1.voxel_size_mm, 1.0)
    shape = tuple(int(np.ceil(n / f)) for n, f in zip(brain_mask[box].shape, factor, strict=True))
    grid = affine @ np.diag([*factor, 1.0])
    brain = resample((t1.data * brain_mask)[box], affine, shape, grid)  # type: ignore[arg-type]
    mask = resample(brain_mask[box], affine, shape, grid) > 0.5  # type: ignore[arg-type]
    mask = binary_dilation(mask, iterations=3).astype(np.float32)
    return Volume(brain, grid), Volume(mask, grid, "1")
