"""The grids that simulated scanners store their images on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.phantom.anatomy import Anatomy
from mri2pet.cohort.phantom.fields import sample
from mri2pet.cohort.phantom.template import template_fields

STEP = 4


@dataclass(frozen=True)
class Grid:
    """A scanner's grid with axes near right, anterior, superior.

    Attributes:
        shape: voxels along the three axes.
        affine: 4x4, voxel → scanner RAS mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def voxel_mm(self) -> np.ndarray:
        """Lengths of the voxel's edges (mm), [3]."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def points(self, transform: np.ndarray, step: int = 1) -> list[np.ndarray]:
        """Coordinates of the voxel centres after a 4x4 `transform` of scanner mm.

        Args:
            transform: applied to scanner coordinates.
            step: take every step-th voxel along each axis.

        Returns:
            Three float32 arrays of the grid's (thinned) shape.
        """
        matrix = (transform @ self.affine).astype(np.float32)
        i, j, k = (np.arange(0, n, step, dtype=np.float32) for n in self.shape)
        return [
            (row[0] * i)[:, None, None]
            + (row[1] * j)[None, :, None]
            + (row[2] * k + row[3])[None, None, :]
            for row in matrix[:3]
        ]

    def flat_points(self, transform: np.ndarray) -> np.ndarray:
        """All voxel centres after a 4x4 transform, float32 [3, N]."""
        return np.stack([p.ravel() for p in self.points(transform)])

    def near(self, coarse_mask: np.ndarray) -> np.ndarray:
        """Spread a mask of every STEP-th voxel to the voxels around: bool of the grid's shape."""
        from scipy import ndimage

        grown = ndimage.binary_dilation(coarse_mask, np.ones((3, 3, 3), bool))
        for axis in range(3):
            grown = np.repeat(grown, STEP, axis)
        return grown[: self.shape[0], : self.shape[1], : self.shape[2]]


def brain_points_mm(anatomy: Anatomy) -> np.ndarray:
    """Points inside the brain on a 4 mm lattice, float64 [3, N] in subject space."""
    field = anatomy.displacement
    coarse = field.data[:, ::2, ::2, ::2].reshape(3, -1)
    aligned = field.points_mm()[:, ::2, ::2, ::2].reshape(3, -1)
    inside = sample(template_fields().brain, aligned + coarse)[1] > 0.5
    subject_from_aligned = np.linalg.inv(anatomy.affine)
    return subject_from_aligned[:3, :3] @ aligned[:, inside] + subject_from_aligned[:3, 3:]


def box_grid(
    points_mm: np.ndarray,
    axes: np.ndarray,
    voxel_mm: np.ndarray,
    margins_mm: np.ndarray,
) -> Grid:
    """The grid that holds points with margins.

    Args:
        points_mm: [3, N] in scanner mm.
        axes: rotation 3x3 whose columns are the grid's axes.
        voxel_mm: edges [3].
        margins_mm: [3, 2], below and above the points along each axis.
    """
    along = axes.T @ points_mm
    low = along.min(axis=1) - margins_mm[:, 0]
    high = along.max(axis=1) + margins_mm[:, 1]
    counts = np.ceil((high - low) / voxel_mm).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes * voxel_mm
    affine[:3, 3] = axes @ (low + 0.5 * voxel_mm)
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)
