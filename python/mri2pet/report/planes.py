"""Orthogonal cuts through volumes on any grid, in RAS+ mm of a display space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.volume import Volume

PLANES = ("axial", "coronal", "sagittal")
NORMAL_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}


@dataclass(frozen=True)
class Box:
    """The part of display space that is shown: `low` and `high` corners, RAS+ mm."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def around(cls, mask: Volume, margin_mm: float = 8.0) -> Box:
        """The box around the voxels of a mask, in the world space of its affine."""
        inside = [np.flatnonzero(mask.data.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
        ends = [(axis[0], axis[-1]) for axis in inside]
        corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
        world = mask.affine[:3, :3] @ corners + mask.affine[:3, 3:]
        return cls(world.min(axis=1) - margin_mm, world.max(axis=1) + margin_mm)


def cut(
    volume: Volume,
    plane: str,
    position_mm: float,
    box: Box,
    *,
    pixel_mm: float = 0.5,
    volume_from_display: np.ndarray | None = None,
) -> np.ndarray:
    """One plane as a picture: float32 [rows, columns], trilinear, 0 outside the volume.

    Axial and coronal: the left of the subject is on the left (neurological display).
    Sagittal: anterior is on the right. The top row is anterior (axial) or superior.

    Args:
        position_mm: where the plane cuts its normal axis, in display space.
        volume_from_display: 4 x 4, display RAS mm → the volume's RAS mm; identity when None.
    """
    low, high = box.low.astype(float), box.high.astype(float)
    normal = NORMAL_AXIS[plane]
    low[normal] = high[normal] = position_mm
    values = sample_box(volume, Box(low, high), pixel_mm, volume_from_display)
    return np.ascontiguousarray(values.squeeze(axis=normal).T[::-1])


def sample_box(
    volume: Volume, box: Box, spacing_mm: float, volume_from_display: np.ndarray | None = None
) -> np.ndarray:
    """The box on an isotropic RAS+ grid: float32 [X, Y, Z], first voxel centre at `box.low`."""
    counts = np.maximum(np.rint((box.high - box.low) / spacing_mm).astype(int), 0) + 1
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    display = np.diag([spacing_mm] * 3 + [1.0])
    display[:3, 3] = box.low
    return resample(volume.data, volume.affine, shape, display, volume_from_display)
