"""Values of one grid at the voxel centres of another.

Both grids and the transform between them are folded into one affine from target index to
source index, so no coordinate convention but RAS+ appears here. Outside the source grid
values are 0.
"""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.space.itk import load_ants

INTERPOLATIONS = ("nearest", "linear", "cubic", "sinc")
_SPLINE_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    target_shape: tuple[int, int, int],
    target_affine: np.ndarray,
    source_from_target: np.ndarray | None = None,
    interpolation: str = "linear",
) -> np.ndarray:
    """Resample `data` onto a target grid.

    Args:
        data: `[X, Y, Z]` values on the source grid.
        affine: source voxel index → source RAS mm.
        target_shape: `(X, Y, Z)` of the result.
        target_affine: target voxel index → target RAS mm.
        source_from_target: 4 x 4, target RAS mm → source RAS mm; identity when None.
        interpolation: `"nearest"`, `"linear"`, `"cubic"` (B-spline) or `"sinc"`
            (Hamming-windowed, radius 3, by ITK; 6³ taps, ten times the cost of cubic).

    Returns:
        float32 `[X, Y, Z]` on the target grid. No low-pass filter is applied: for a coarser
        target resample to a finer grid and average (`model_space`).

    Raises:
        ValueError: unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
    between = np.eye(4) if source_from_target is None else source_from_target
    index_map = np.linalg.inv(affine) @ between @ target_affine
    values = np.asarray(data, dtype=np.float32)
    if interpolation == "sinc":
        return _sinc(values, index_map, target_shape)
    from scipy.ndimage import affine_transform

    return affine_transform(
        values,
        index_map[:3, :3],
        index_map[:3, 3],
        output_shape=tuple(target_shape),
        output=np.float32,
        order=_SPLINE_ORDER[interpolation],
        mode="constant",
        cval=0.0,
    )


def _sinc(
    values: np.ndarray, index_map: np.ndarray, target_shape: tuple[int, int, int]
) -> np.ndarray:
    """ITK's windowed sinc, run in index space: both images get identity geometry."""
    ants = load_ants()
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=index_map[:3, :3],
        offset=index_map[:3, 3],
    )
    moved = ants.apply_ants_transform_to_image(
        transform,
        ants.from_numpy(np.ascontiguousarray(values)),
        ants.from_numpy(np.zeros(target_shape, dtype=np.float32)),
        interpolation="hammingwindowedsinc",
    )
    return moved.numpy().astype(np.float32, copy=False)


def to_pet_size(mri: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An MRI on the PET's grid by quintic spline interpolation, clipped to [0, 1].

    Both grids divide the same box, so voxel centres move as `imaging.space.grid` says.

    Args:
        mri: `[K, I, J]`.
        shape: `(K, I, J)` of the PET grid.

    Returns:
        float32 `[K, I, J]`.
    """
    from scipy.ndimage import zoom

    values = np.asarray(mri, dtype=np.float32)
    factors = [n / m for n, m in zip(shape, values.shape, strict=True)]
    moved = zoom(values, factors, order=5, mode="nearest", grid_mode=True)
    return np.clip(moved, 0.0, 1.0).astype(np.float32, copy=False)


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice]:
    """The smallest box of voxels that holds a mask, widened by `margin`; all when empty."""
    slices = []
    for axis, size in enumerate(mask.shape):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        low, high = (hit[0], hit[-1] + 1) if hit.size else (0, size)
        slices.append(slice(max(0, int(low) - margin), min(size, int(high) + margin)))
    return slices[0], slices[1], slices[2]


def crop_affine(affine: np.ndarray, box: tuple[slice, slice, slice]) -> np.ndarray:
    """Affine of the grid that `data[box]` has."""
    cropped = affine.copy()
    cropped[:3, 3] = (affine @ [*(s.start for s in box), 1.0])[:3]
    return cropped
