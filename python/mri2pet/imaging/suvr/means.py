"""Means of a PET over regions that lie on another grid.

The PET is read at the region's voxel centres, through the transform, by linear interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.imaging.space.volume import Volume

_ROUNDING_VOXELS = 1e-4


@dataclass(frozen=True)
class RegionMean:
    """What a PET measures in one region.

    Attributes:
        mean: in the PET's unit, over what lies inside the field of view; 0 where nothing does.
        covered: share of the region that lies inside.
    """

    mean: float
    covered: float


def field_of_view(pet: Volume) -> np.ndarray:
    """Where a PET was measured: bool `[X, Y, Z]`, all but the zeros that reach the edge.

    Resampling and skull stripping write zeros (or NaN, which is read as 0) where there is no
    measurement; they say nothing about uptake.
    """
    from scipy.ndimage import label

    pieces, count = label(pet.data == 0)
    edge = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            edge[np.take(pieces, end, axis=axis)] = True
    edge[0] = False
    return ~edge[pieces]


def region_mean_mm(
    pet: Volume,
    region: Volume,
    region_from_pet: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> tuple[float, float]:
    """Mean of a PET over a region.

    Args:
        pet: any unit.
        region: weights 0 to 1.
        region_from_pet: 4 x 4, PET RAS mm → region RAS mm; None for the same space.
        seen: `field_of_view`, bool on the PET's grid; None for all of it.

    Returns:
        The mean, in the PET's unit, over the voxels inside the PET's field of view, and the
        share of the region that is inside.
    """
    where = np.nonzero(region.data > 0)
    weights = region.data[where].astype(np.float64)
    values, inside = _read(pet, _centres_mm(region.affine, where), region_from_pet, seen)
    total, counted = float(weights.sum()), weights * inside
    if total <= 0 or counted.sum() <= 0:
        return 0.0, 0.0
    return float((values * counted).sum() / counted.sum()), float(counted.sum()) / total


def label_means_mm(
    pet: Volume,
    labels: Volume,
    template_from_pet: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> dict[int, RegionMean]:
    """Mean of a PET over every label of an atlas, label 0 left out.

    Args:
        pet: any unit.
        labels: whole numbers ≥ 0.
        template_from_pet: 4 x 4, PET RAS mm → the atlas's RAS mm; None for the same space.
        seen: as in `region_mean_mm`.
    """
    where = np.nonzero(labels.data > 0)
    index, which = np.unique(labels.data[where].astype(np.int64), return_inverse=True)
    values, inside = _read(pet, _centres_mm(labels.affine, where), template_from_pet, seen)
    size = np.bincount(which, minlength=len(index))
    count = np.bincount(which, inside, len(index))
    total = np.bincount(which, values * inside, len(index))
    return {
        int(i): RegionMean(float(t / n) if n else 0.0, float(n / s))
        for i, t, n, s in zip(index, total, count, size, strict=True)
    }


def _centres_mm(affine: np.ndarray, where: tuple[np.ndarray, ...]) -> np.ndarray:
    """`[3, N]` RAS mm."""
    return affine[:3, :3] @ np.stack(where).astype(np.float64) + affine[:3, 3:]


def _read(
    pet: Volume, points_mm: np.ndarray, points_from_pet: np.ndarray | None, seen: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Values float64 `[N]` at points `[3, N]`, and which of them the PET saw.

    A point up to half a voxel outside the outermost centres is in an outermost voxel. Where a
    part of its neighbours was not seen, the rest counts alone.
    """
    from scipy.ndimage import map_coordinates

    between = np.eye(4) if points_from_pet is None else np.linalg.inv(points_from_pet)
    place = np.linalg.inv(pet.affine) @ between
    index = place[:3, :3] @ points_mm + place[:3, 3:]
    last = np.array(pet.shape)[:, None] - 1
    reach = 0.5 + _ROUNDING_VOXELS
    inside = ((index >= -reach) & (index <= last + reach)).all(axis=0)
    np.clip(index, 0, last, out=index)

    def interpolated(data: np.ndarray) -> np.ndarray:
        return map_coordinates(data, index, output=np.float64, order=1, mode="nearest")

    if seen is None:
        return interpolated(pet.data), inside
    share = interpolated(seen.astype(np.float32))
    inside &= share > 0.5
    values = interpolated(np.where(seen, pet.data, np.float32(0)))
    return np.where(inside, values / np.maximum(share, 0.5), 0.0), inside
