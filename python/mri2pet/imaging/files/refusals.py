"""What makes an image unusable as a T1, each with its sentence.

A sentence names the file, says what is wrong and what to do.
"""

from __future__ import annotations

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.space.volume import axis_cosines

MAX_VOXEL_MM = 4.0
MIN_FIELD_OF_VIEW_MM = 100.0
MAX_AXIS_COSINE = 1e-3
MAX_MENDED_FRACTION = 1e-3
MIN_DISTINCT_VALUES = 16


def truncated(name: str) -> str:
    """The sentence for a file that ends early."""
    return f"{name}: is truncated or damaged (its data end early); copy or export it again."


def single_frame_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The three spatial sizes of an image with one frame.

    Raises:
        InputError: fewer than three axes with more than one voxel, or several frames.
    """
    frames = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    if frames > 1:
        raise InputError(
            f"{name}: has {frames} frames; give one 3D volume (extract the frame that is the T1)."
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        sizes = " x ".join(str(n) for n in shape)
        raise InputError(f"{name}: is 2D ({sizes} voxels); give a 3D volume.")
    return int(shape[0]), int(shape[1]), int(shape[2])


def check_geometry(name: str, shape: tuple[int, ...], affine: np.ndarray) -> None:
    """Refuse broken, sheared, coarse or small grids.

    Raises:
        InputError: with the numbers.
    """
    matrix = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise InputError(
            f"{name}: its affine is not invertible; export the image again with a valid header."
        )
    cosine = float(np.abs(axis_cosines(affine)).max())
    if cosine > MAX_AXIS_COSINE:
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        raise InputError(
            f"{name}: its axes are not orthogonal ({angle:.1f} degrees between two of them); "
            "resample it to an orthogonal grid."
        )
    voxel = np.linalg.norm(matrix, axis=0)
    if voxel.max() > MAX_VOXEL_MM * (1 + 1e-4):
        raise InputError(
            f"{name}: its voxels are {_sizes(voxel)} mm, above {MAX_VOXEL_MM:g} mm; "
            "give a 3D T1 with smaller voxels."
        )
    view = voxel * np.array(shape)
    if view.min() < MIN_FIELD_OF_VIEW_MM:
        raise InputError(
            f"{name}: its field of view of {_sizes(view)} mm cannot hold a whole brain; "
            "give a T1 that covers it."
        )


def mend(name: str, values: np.ndarray, doubts: list[str]) -> np.ndarray:
    """Replace a few non-finite voxels by the mean of their finite neighbours (else 0).

    Raises:
        InputError: more than 0.1 % of the voxels are not finite.
    """
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if count == 0:
        return values
    if count > MAX_MENDED_FRACTION * values.size:
        raise InputError(
            f"{name}: {100 * count / values.size:.1f} % of its voxels are NaN or infinite; "
            "write it again with finite values (0 for the background)."
        )
    mended = values.copy()
    mended[bad] = _neighbour_means(values, np.argwhere(bad))
    doubts.append(f"{count} voxels were NaN or infinite and were filled from their neighbours.")
    return mended


def check_values(name: str, values: np.ndarray) -> None:
    """Refuse empty images, label maps and CT.

    Raises:
        InputError: with the numbers.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        what = "all its voxels are zero" if low == 0 else f"all its voxels are {low:g}"
        raise InputError(f"{name}: {what}; give a T1.")
    sample = values[::3, ::3, ::3]
    distinct = np.unique(sample).size
    if distinct < MIN_DISTINCT_VALUES:
        raise InputError(
            f"{name}: holds only {distinct} different values, like a mask or a label map; "
            "give a T1."
        )
    if low < -500 and float(np.mean(sample < -200)) > 0.05:
        raise InputError(
            f"{name}: looks like a CT (values from {low:.0f} to {high:.0f}, like Hounsfield "
            "units); give a T1-weighted MRI."
        )


def _neighbour_means(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    around = np.clip(where[:, None, :] + offsets, 0, np.array(values.shape) - 1)
    neighbours = values[around[..., 0], around[..., 1], around[..., 2]].astype(np.float64)
    finite = np.isfinite(neighbours)
    total = np.where(finite, neighbours, 0.0).sum(axis=1)
    return total / np.maximum(finite.sum(axis=1), 1)


def _sizes(values: np.ndarray) -> str:
    return " x ".join(f"{v:.3g}" for v in values)
