"""Values of one grid at the voxel centres of another.

Both grids and the transform between them are folded into one affine from target index to
source index, so no coordinate convention but RAS+ appears here. Outside the source grid
values are 0.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mri2pet.build import native_module
from mri2pet.imaging.space.itk import windowed_sinc

INTERPOLATIONS = ("nearest", "linear", "cubic", "sinc")
_SPLINE_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}
_SLAB = 8  # planes of the target that are read together, whatever the number of cores
_SMALL = 2**18  # voxels below which a second thread is not worth its start


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    target_shape: tuple[int, int, int],
    target_affine: np.ndarray,
    source_from_target: np.ndarray | None = None,
    interpolation: str = "linear",
    needed: np.ndarray | None = None,
) -> np.ndarray:
    """Resample `data` onto a target grid, on all cores.

    Args:
        data: `[X, Y, Z]` values on the source grid.
        affine: source voxel index → source RAS mm.
        target_shape: `(X, Y, Z)` of the result.
        target_affine: target voxel index → target RAS mm.
        source_from_target: 4 x 4, target RAS mm → source RAS mm; identity when None.
        interpolation: `"nearest"`, `"linear"`, `"cubic"` (B-spline) or `"sinc"`
            (Hamming-windowed, radius 3, by ITK; 6³ taps, ten times the cost of cubic).
        needed: bool `[X, Y, Z]` on the target grid; elsewhere the result may be 0.

    Returns:
        float32 `[X, Y, Z]` on the target grid. No low-pass filter is applied: for a coarser
        target resample to a finer grid and average (`model_space`).

    Raises:
        ValueError: unknown interpolation, `needed` of another shape, or numbers in an affine
            that are not finite.
        UsageError: the native module is not built.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
    between = np.eye(4) if source_from_target is None else source_from_target
    index_map = np.linalg.inv(affine) @ between @ target_affine
    if not np.isfinite(index_map).all():
        raise ValueError("an affine holds numbers that are not finite")
    if needed is not None and needed.shape != tuple(target_shape):
        raise ValueError(f"needed has the shape {needed.shape}, the target {tuple(target_shape)}")
    if 0 in data.shape:
        return np.zeros(target_shape, dtype=np.float32)
    if interpolation == "sinc":
        return windowed_sinc(np.asarray(data, dtype=np.float32), index_map, target_shape)
    order = _SPLINE_ORDER[interpolation]
    if order < 2:
        box = _reached(index_map, data.shape, target_shape)
        data, index_map = data[box], index_map.copy()
        index_map[:3, 3] -= [part.start for part in box]
        if not data.size:
            return np.zeros(target_shape, dtype=np.float32)
    return _spline(np.asarray(data, np.float32), index_map, target_shape, order, needed)


def _reached(
    index_map: np.ndarray, shape: tuple[int, ...], target_shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """The part of the source that the target's voxels are read from, so that no more is turned
    into float32 than that."""
    ends = np.array([[0, n - 1] for n in target_shape])
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    index = index_map[:3, :3] @ corners + index_map[:3, 3:]
    low = np.clip(np.floor(index.min(axis=1)) - 1, 0, shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=1)) + 2, low, shape).astype(int)
    x, y, z = (slice(start, end) for start, end in zip(low, high, strict=True))
    return x, y, z


def _spline(
    values: np.ndarray,
    index_map: np.ndarray,
    target_shape: tuple[int, int, int],
    order: int,
    needed: np.ndarray | None,
) -> np.ndarray:
    """Slab by slab; the native loop runs outside the interpreter lock, so slabs run side by side.

    What it does beyond the source's edges is what `scipy.ndimage.affine_transform` does with
    `mode="constant"`.
    """
    module = native_module()
    if order > 1:
        from scipy.ndimage import spline_filter

        values = spline_filter(values, order, output=np.float64, mode="constant")
    values = np.require(values, np.float32, "A")
    axes = np.argsort(np.abs(values.strides))[::-1]  # the last one is that of neighbours in memory
    values, index_map = values.transpose(axes), index_map[:3][axes]
    if needed is not None:
        needed = np.ascontiguousarray(needed, dtype=bool)
    out = np.zeros(target_shape, dtype=np.float32)

    def read(start: int) -> None:
        slab = out[start : start + _SLAB]
        wanted = 0 if needed is None else needed[start : start + _SLAB].ctypes.data
        params = module.Resample(
            source=values.shape,
            strides=[stride // values.itemsize for stride in values.strides],
            target=slab.shape,
            first=start,
            order=order,
            index_map=index_map.ravel(),
            values=values.ctypes.data,
            needed=wanted,
            out=slab.ctypes.data,
        )
        module.resample(params, False)

    starts = range(0, target_shape[0], _SLAB) if out.size else ()
    workers = cores() if out.size >= _SMALL else 1
    if workers == 1:
        for start in starts:
            read(start)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(read, starts))
    return out


def cores() -> int:
    """Cores of this process, or fewer where the environment limits its threads."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(limit), here or 1) if limit.isdigit() and int(limit) > 0 else here or 1


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
