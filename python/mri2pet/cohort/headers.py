"""What the header of an image says of it, without reading its voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError

MIN_T1_MM = 80.0
_IN_MM = {"meter": 1000.0, "micron": 0.001}


def why_unusable(path: Path) -> str | None:
    """Why an image cannot be opened, or None. The sentence does not name the file."""
    from mri2pet.imaging.files.reading import open_image

    try:
        open_image(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ").replace(str(path), path.name).rstrip(".")
    return None


def why_no_t1(path: Path) -> str | None:
    """Why an image that can be opened is no T1 of a head: 2D, frames, or a field of view < 80 mm.

    The sentence does not name the file.
    """
    from mri2pet.imaging.files.reading import open_image

    image, _ = open_image(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 3 or min(shape[:3]) < 2:
        return f"is 2D ({' x '.join(map(str, shape))} voxels)"
    if (frames := int(np.prod(shape[3:]))) > 1:
        return f"has {frames} frames"
    view = _field_of_view_mm(image, shape)
    if np.isfinite(view).all() and 0 < view.min() < MIN_T1_MM:
        sizes = " x ".join(f"{size:.3g}" for size in view)
        return f"has a field of view of {sizes} mm, below {MIN_T1_MM:g} mm: a slab or a localizer"
    return None


def _field_of_view_mm(image: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Three sizes in mm, whatever unit of length the header names."""
    view = np.linalg.norm(np.asarray(image.affine, dtype=np.float64)[:3, :3], axis=0) * shape[:3]
    units = getattr(image.header, "get_xyzt_units", lambda: ("mm", "sec"))()
    return view * _IN_MM.get(units[0], 1.0)
