"""Brain masks that the user gives, or that a stripped image implies."""

from __future__ import annotations

from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.brain.extraction import largest_piece
from mri2pet.imaging.files.kinds import MASK
from mri2pet.imaging.files.reading import T1Image, read_image

_SAME_GRID_MM = 0.1
_MAX_STRIPPED_FRACTION = 0.7


def given_mask(source: Any, t1: T1Image, doubts: list[str]) -> np.ndarray:
    """A mask from a file, a nibabel image or a bool array: bool `[X, Y, Z]` on the T1's grid.

    Values above 0.5 are brain. `doubts` takes one sentence for each thing that is doubtful.

    Raises:
        InputError: unreadable, on another grid, or empty.
    """
    if isinstance(source, np.ndarray):
        values, name, affine = source, "brain mask", t1.volume.affine
    else:
        image = read_image(source, MASK)
        values, name = image.frames[0], image.name
        affine = t1.volume.affine if image.grid is None else image.grid.affine
        doubts.extend(f"Brain mask: {doubt}" for doubt in image.warnings)
        if image.grid is None:
            doubts.append("The brain mask's header has no orientation; the T1's was taken.")
    if values.shape != t1.volume.shape or not _same_place(affine, t1):
        raise InputError(
            f"{name}: is not on the grid of {t1.name} (shape {values.shape}, the T1 has "
            f"{t1.volume.shape}); resample the mask to the T1."
        )
    mask = np.asarray(values) > 0.5
    if not mask.any():
        raise InputError(f"{name}: holds no voxel above 0.5; give a brain mask.")
    return mask


def stripped_mask(t1: T1Image) -> np.ndarray:
    """The brain of a skull-stripped image: its largest piece above 1 % of the 99th percentile.

    Raises:
        InputError: signal nearly everywhere, so it is not stripped.
    """
    data = t1.volume.data
    foreground = (
        data > 0.01 * float(np.percentile(data[data > 0], 99)) if (data > 0).any() else data > 0
    )
    fraction = float(foreground.mean())
    if not 0 < fraction <= _MAX_STRIPPED_FRACTION:
        raise InputError(
            f"{t1.name}: is not skull-stripped ({100 * fraction:.0f} % of its voxels hold "
            "signal); leave out --skull-stripped."
        )
    return largest_piece(foreground)


def _same_place(affine: np.ndarray, t1: T1Image) -> bool:
    far = np.array([[0, 0, 0, 1], [*(n - 1 for n in t1.volume.shape), 1]]).T
    apart = (affine - t1.volume.affine) @ far
    return bool(np.abs(apart[:3]).max() < _SAME_GRID_MM)
