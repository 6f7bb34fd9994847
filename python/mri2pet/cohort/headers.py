"""What the header of an image says of it, without reading its voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mri2pet.errors import InputError

MIN_T1_MM = 80.0


def why_unusable(path: Path) -> str | None:
    """Why an image cannot be opened, or None. The sentence does not name the file."""
    from mri2pet.imaging.files.opening import opened

    try:
        with opened(path):
            return None
    except InputError as error:
        return str(error).removeprefix(f"{path}: ").replace(str(path), path.name).rstrip(".")


def why_no_t1(path: Path) -> str | None:
    """Why an image that can be opened is no T1 of a head: 2D, frames, or a field of view < 80 mm.

    The sentence does not name the file.
    """
    from mri2pet.imaging.files.opening import opened
    from mri2pet.imaging.space.subject_grid import SubjectGrid

    with opened(path) as (image, _):
        shape = tuple(int(n) for n in image.shape)
        if len(shape) < 3 or min(shape[:3]) < 2:
            return f"is 2D ({' x '.join(map(str, shape))} voxels)"
        grid = SubjectGrid.of(image, assume_ras=True, doubts=[])
    if (frames := int(np.prod(shape[3:]))) > 1:
        return f"has {frames} frames"
    if grid is None:
        return None
    view = np.linalg.norm(grid.affine[:3, :3], axis=0) * shape[:3]
    if np.isfinite(view).all() and 0 < view.min() < MIN_T1_MM:
        sizes = " x ".join(f"{size:.3g}" for size in view)
        return f"has a field of view of {sizes} mm, below {MIN_T1_MM:g} mm: a slab or a localizer"
    return None
