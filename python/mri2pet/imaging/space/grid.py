"""The model's grid in template space: one box, any number of voxels.

Model arrays are `[K, I, J]`: axial slices from inferior to superior, then left to right,
then posterior to anterior. Files and images are `[X, Y, Z] = [I, J, K]`. Coordinates are
RAS+ millimetres of the template (MNI152NLin2009aSym).
"""

from __future__ import annotations

import numpy as np

#: Edges (mm) of the box that every model grid divides evenly: (low, high) for x, y, z.
MODEL_BOX_MM = ((-96.0, 96.0), (-113.0, 79.0), (-76.0, 84.0))


def to_kij(xyz: np.ndarray) -> np.ndarray:
    """`[X, Y, Z]` → `[K, I, J]` (a view)."""
    return xyz.transpose(2, 0, 1)


def to_xyz(kij: np.ndarray) -> np.ndarray:
    """`[K, I, J]` → `[X, Y, Z]` (a view)."""
    return kij.transpose(1, 2, 0)


def voxel_size_mm(shape_kij: tuple[int, int, int]) -> np.ndarray:
    """Voxel size (mm) along x, y, z of the model grid with this shape."""
    k, i, j = _checked(shape_kij)
    return np.array([(hi - lo) / n for (lo, hi), n in zip(MODEL_BOX_MM, (i, j, k), strict=True)])


def grid_affine(shape_kij: tuple[int, int, int]) -> np.ndarray:
    """Voxel `[I, J, K]` index → template RAS mm, 4 x 4.

    Voxel centres lie at `low + (index + 0.5) * size`, so grids of any two shapes cover the
    same box and map onto each other by scaling alone.
    """
    size = voxel_size_mm(shape_kij)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = [lo + 0.5 * s for (lo, _), s in zip(MODEL_BOX_MM, size, strict=True)]
    return affine


def _checked(shape_kij: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(shape_kij) != 3 or any(int(n) < 1 for n in shape_kij):
        raise ValueError(f"a model grid has three positive sizes (K, I, J), not {shape_kij!r}")
    k, i, j = (int(n) for n in shape_kij)
    return k, i, j
