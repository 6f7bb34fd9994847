"""The measured PET of a cohort whose transforms are known: its frames as one volume."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.space.volume import Volume


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values float32 of any shape, and the affine (voxel index → RAS mm), as the file has them.

    Raises:
        InputError: the file is missing or cannot be read whole.
    """
    from mri2pet.imaging.files.reading import open_image
    from mri2pet.imaging.files.refusals import truncated

    image, name = open_image(path)
    try:
        return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine)
    except (EOFError, OSError, ValueError, zlib.error):
        raise InputError(truncated(name)) from None


def static_pet(path: Path) -> Volume:
    """A PET of one or several frames as one volume: the mean over the frames, in its raw unit.

    Raises:
        InputError: unreadable, not 3D or 4D, without finite positive values, or constant.
    """
    data, affine = read_image(path)
    if data.ndim == 4:
        data = data.mean(axis=3, dtype=np.float32)
    if data.ndim != 3:
        raise InputError(f"{path}: has {data.ndim} axes; a PET has 3, or 4 with its frames.")
    if not np.isfinite(data).all() or not (data > 0).any():
        raise InputError(f"{path}: holds no PET signal or values that are not finite.")
    if float(data.min()) == float(data.max()):
        raise InputError(f"{path}: all its voxels are {data.flat[0]:g}; leave it out.")
    return Volume(data, affine, "raw PET")
