"""A volume: voxel values, where they are, and what they measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxel values with their place in space.

    Attributes:
        data: `[X, Y, Z]` values, usually float32 (masks are bool or uint8).
        affine: 4 x 4 float64, voxel index → RAS+ mm.
        unit: what a value measures, such as `"SUVR"`; `"a.u."` for a T1, `"1"` for a mask
            or a probability.
    """

    data: np.ndarray
    affine: np.ndarray
    unit: str = "a.u."

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"a Volume has three axes, not shape {self.data.shape}")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"an affine is 4 x 4, not {affine.shape}")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each stored axis."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def voxel_size_mm(self) -> np.ndarray:
        """Distance (mm) between neighbouring voxel centres along each stored axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def axis_cosines(affine: np.ndarray) -> np.ndarray:
    """Cosines between the three voxel axes (0-1, 0-2, 1-2); all 0 on an orthogonal grid."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.array([axes[:, a] @ axes[:, b] for a, b in ((0, 1), (0, 2), (1, 2))])


def reorder(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring stored axes as near to R, A, S as flips and swaps allow.

    Nothing is interpolated. Returns the reordered `[X, Y, Z]` array, its affine, and the
    nibabel orientation array that `restore_order` needs.
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    ornt = io_orientation(affine)
    reordered = np.ascontiguousarray(apply_orientation(data, ornt))
    return reordered, affine @ inv_ornt_aff(ornt, data.shape), ornt


def restore_order(data: np.ndarray, ornt: np.ndarray) -> np.ndarray:
    """Undo `reorder`: bring `[X, Y, Z]` values back to the stored axes."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, ornt2axcodes, ornt_transform

    stored = axcodes2ornt(ornt2axcodes(ornt))
    canonical = axcodes2ornt(("R", "A", "S"))
    return np.ascontiguousarray(apply_orientation(data, ornt_transform(canonical, stored)))
