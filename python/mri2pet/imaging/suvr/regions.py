"""Brain regions in template space, from the tissue maps and geometry alone.

No atlas is shipped. A region is the set of template voxels of a tissue whose nearest seed point
has that region's name; the seeds are approximate centres of cortical and subcortical structures
in MNI coordinates (mm, right side, mirrored to the left). The cerebellum is what lies under a
tentorium surface and behind the brainstem.

Template space is nilearn's MNI152NLin2009aSym, RAS+ mm.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mri2pet.imaging.space.volume import Volume

MODEL_BOX_MM = ((-96.0, 96.0), (-113.0, 79.0), (-76.0, 84.0))
"""Edges of the model grid along x, y, z (mm, template space)."""

REGIONS = (
    "frontal",
    "cingulate",
    "precuneus",
    "parietal",
    "lateral_temporal",
    "medial_temporal",
    "occipital",
    "sensorimotor",
    "insula",
    "striatum",
    "thalamus",
    "brainstem",
)
"""Names of the supratentorial and brainstem regions, in the order of `region_weights`."""

COMPOSITE = ("frontal", "cingulate", "precuneus", "parietal", "lateral_temporal")
"""Regions whose grey matter makes the cortical composite."""

_SEEDS_MM: dict[str, tuple[tuple[float, float, float], ...]] = {
    "frontal": (
        (20, 32, 43),
        (17, 47, -14),
        (35, 33, 35),
        (32, 51, -10),
        (49, 16, 20),
        (47, 30, 13),
        (38, 31, -13),
        (6, 50, 30),
        (6, 52, -8),
        (6, 36, -19),
        (24, 56, 12),
        (28, 14, 54),
    ),
    "cingulate": ((6, 35, 13), (6, 24, 28)),
    "precuneus": ((6, -44, 26), (7, -56, 46), (7, -62, 30)),
    "parietal": ((24, -60, 60), (44, -46, 47), (57, -35, 30), (45, -61, 36)),
    "lateral_temporal": (
        (57, -20, -2),
        (42, 15, -21),
        (58, -38, 2),
        (57, -8, -18),
        (40, 12, -35),
        (54, -29, -20),
        (52, -55, -10),
        (52, -56, 14),
    ),
    "medial_temporal": ((27, -21, -12), (23, -14, -22), (25, 0, -19), (30, -38, -16)),
    "occipital": (
        (10, -78, 8),
        (9, -82, 27),
        (14, -69, -4),
        (22, -86, 29),
        (34, -82, 16),
        (38, -80, -8),
        (12, -98, 2),
        (26, -66, -10),
    ),
    "sensorimotor": ((40, -8, 52), (50, -7, 16), (7, -4, 62), (8, -29, 68), (43, -24, 52)),
    "insula": ((37, 6, 2), (44, -18, 9), (7, -8, 40)),
    "striatum": ((12, 12, 9), (27, 4, 0), (16, 0, 16)),
    "thalamus": ((12, -18, 8), (6, -10, -6)),
    "brainstem": ((5, -24, -18), (5, -28, -34), (4, -38, -56)),
}


def tentorium_height(x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
    """Height z (mm, template space) of the tentorium above the points (x, y), same shape."""
    x = np.abs(x_mm)
    roof = -3.0 - 0.35 * np.clip(-50.0 - y_mm, 0.0, None) - 0.10 * x - 0.0075 * x**2
    edge = -22.5 - 0.3 * np.clip(y_mm + 60.0, 0.0, 25.0)
    return np.maximum(roof, edge)


def below_tentorium(xyz_mm: np.ndarray) -> np.ndarray:
    """Whether points [..., 3] (mm) lie in the space of the cerebellum (brainstem excluded)."""
    x, y, z = np.abs(xyz_mm[..., 0]), xyz_mm[..., 1], xyz_mm[..., 2]
    front = np.where(x < 16.0, -43.0 + 0.3 * np.clip(z + 45.0, -30.0, 0.0), -33.0)
    front = np.where(x > 24.0, -28.0, front)
    return (z < tentorium_height(x, y)) & (y < front)


def region_weights(xyz_mm: np.ndarray, softness_mm: float = 6.0) -> np.ndarray:
    """Membership of points in the regions.

    Args:
        xyz_mm: points [N, 3], mm in template space.
        softness_mm: width of the transition between neighbours.

    Returns:
        float32 [len(REGIONS), N], columns sum to 1.
    """
    points = np.array(xyz_mm, dtype=np.float32)
    points[:, 0] = np.abs(points[:, 0])
    nearest = np.full((len(REGIONS), len(points)), np.inf, dtype=np.float32)
    for row, name in enumerate(REGIONS):
        for seed in _SEEDS_MM[name]:
            distance = np.linalg.norm(points - np.asarray(seed, dtype=np.float32), axis=1)
            np.minimum(nearest[row], distance, out=nearest[row])
    nearest -= nearest.min(axis=0)
    weights = np.exp(-nearest / np.float32(softness_mm / 2.0))
    return weights / weights.sum(axis=0)


def tissue_maps(res_mm: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """T1, grey and white matter maps of the template.

    Args:
        res_mm: 1 or 2.

    Returns:
        t1, gm, wm float32 [X, Y, Z] in [0, 1] and the affine 4x4 (voxel → RAS mm).
    """
    from nilearn import datasets

    t1 = datasets.load_mni152_template(resolution=res_mm)
    maps = [
        t1,
        datasets.load_mni152_gm_template(resolution=res_mm),
        datasets.load_mni152_wm_template(resolution=res_mm),
    ]
    t1_data, gm, wm = (np.clip(m.get_fdata(dtype=np.float32), 0.0, 1.0) for m in maps)
    brain = t1_data > 0.02
    return t1_data * brain, gm * brain, wm * brain, np.asarray(t1.affine, dtype=np.float64)


def voxel_centres_mm(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Centres of all voxels, float32 [X, Y, Z, 3] in mm, of a grid with 4x4 `affine`."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return (index @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)


STORED = Path(__file__).with_name("regions_1mm.npz")
"""What `computed_masks(1)` gives, packed by `tools/store_region_masks.py`."""

GREY_REGIONS = REGIONS[: REGIONS.index("brainstem")]
"""Regions that are measured one by one: all but the brainstem, which is white matter to a PET."""


@lru_cache(maxsize=4)
def _masks(res_mm: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `computed_masks`; those of 1 mm, which take seconds, lie beside this file."""
    if res_mm != 1:
        return computed_masks(res_mm)
    with np.load(STORED) as stored:
        shape, affine = tuple(stored["shape"]), stored["affine"]
        cerebellum = np.unpackbits(stored["cerebellum"], count=int(np.prod(shape)))
        return cerebellum.astype(bool).reshape(shape), stored["labels"], affine


def computed_masks(res_mm: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cerebellum mask bool [X, Y, Z], grey-matter labels uint8 [X, Y, Z] and their affine.

    A label is the place of the region in `REGIONS`, counted from 1; 0 is none. Both stay away
    from the surface, where the resolution of PET mixes in what lies outside.
    """
    t1, gm, wm, affine = tissue_maps(res_mm)
    depth_mm = _depth_mm(t1 > 0, res_mm)
    xyz = voxel_centres_mm(gm.shape, affine)
    infratentorial = below_tentorium(xyz)
    cerebellum = infratentorial & (gm + wm > 0.7) & (depth_mm > 2.0)
    grey = (gm > 0.5) & ~infratentorial & (depth_mm > 6.0)
    labels = np.zeros(grey.shape, dtype=np.uint8)
    labels[grey] = 1 + np.argmax(region_weights(xyz[grey]), axis=0)
    return cerebellum, labels, affine


def _mask(region: str, res_mm: int) -> tuple[np.ndarray, np.ndarray]:
    """Mask bool [X, Y, Z] of "cerebellum", "cortex" or one of `GREY_REGIONS`, and its affine.

    Raises:
        ValueError: another region.
    """
    cerebellar, labels, affine = _masks(res_mm)
    if region == "cerebellum":
        return cerebellar, affine
    names = COMPOSITE if region == "cortex" else (region,)
    if not set(names) <= set(GREY_REGIONS):
        known = ", ".join(("cerebellum", "cortex", *GREY_REGIONS))
        raise ValueError(f"unknown region {region!r}; there are {known}")
    return np.isin(labels, [1 + REGIONS.index(name) for name in names]), affine


def _depth_mm(brain: np.ndarray, res_mm: int) -> np.ndarray:
    """Distance (mm) to the outside of the brain with its sulci filled, same shape."""
    from scipy import ndimage

    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    margin = 10
    filled = ndimage.binary_closing(np.pad(brain[box], margin), iterations=6 // res_mm)
    inner = (slice(margin, -margin),) * 3
    depth = np.zeros(brain.shape, dtype=np.float64)
    depth[box] = ndimage.distance_transform_edt(filled)[inner] * res_mm
    return depth


def _volume(mask: np.ndarray, affine: np.ndarray) -> Volume:
    from mri2pet.imaging.space.volume import Volume

    return Volume(mask.astype(np.float32), affine, "mask")


def cerebellum(res_mm: int) -> Volume:
    """Whole-cerebellum mask (0 or 1) on the template grid of 1 or 2 mm."""
    return _volume(*_mask("cerebellum", res_mm))


def cortical_composite(res_mm: int) -> Volume:
    """Grey matter of the frontal, cingulate, lateral temporal, parietal and precuneus cortex.

    The regions follow the Centiloid target (Klunk et al. 2015, Alzheimer's & Dementia 11:1–15)
    in idea, not in outline. Mask (0 or 1) on the template grid of 1 or 2 mm.
    """
    return _volume(*_mask("cortex", res_mm))


@lru_cache(maxsize=32)
def region_fractions(region: str, pet_shape: tuple[int, int, int]) -> np.ndarray:
    """Share of each model voxel that a region fills.

    Args:
        region: "cerebellum", "cortex" (the composite) or one of `GREY_REGIONS`.
        pet_shape: (K, I, J) of the model grid.

    Returns:
        float32 [K, I, J] in [0, 1].

    Raises:
        ValueError: an unknown region.
    """
    mask, affine = _mask(region, 1)
    voxels = np.argwhere(mask)
    xyz = voxels @ affine[:3, :3].T + affine[:3, 3]
    lo = np.array([edge[0] for edge in MODEL_BOX_MM])
    hi = np.array([edge[1] for edge in MODEL_BOX_MM])
    shape_xyz = np.array([pet_shape[1], pet_shape[2], pet_shape[0]])
    index = np.floor((xyz - lo) / (hi - lo) * shape_xyz).astype(int)
    index = index[((index >= 0) & (index < shape_xyz)).all(axis=1)]
    counts = np.zeros(tuple(shape_xyz), dtype=np.float32)
    np.add.at(counts, tuple(index.T), 1.0)
    voxel_mm3 = float(np.prod((hi - lo) / shape_xyz))
    return np.clip(counts / voxel_mm3, 0.0, 1.0).transpose(2, 0, 1)


def region_mean(
    pet_kij: np.ndarray, region: str, pet_shape: tuple[int, int, int] | None = None
) -> float:
    """Mean of a PET in model space over a region, weighted by the share of each voxel in it.

    Args:
        pet_kij: [K, I, J].
        region: as `region_fractions` knows them.
        pet_shape: (K, I, J); default the array's own shape.

    Raises:
        ValueError: an unknown region or an array of another shape.
    """
    shape = tuple(pet_kij.shape) if pet_shape is None else tuple(pet_shape)
    if tuple(pet_kij.shape) != shape or len(shape) != 3:
        raise ValueError(f"PET of shape {tuple(pet_kij.shape)}, expected {shape}")
    weights = region_fractions(region, (shape[0], shape[1], shape[2]))
    return float((np.asarray(pet_kij, dtype=np.float64) * weights).sum() / weights.sum())


def cortical_suvr(pet_kij: np.ndarray) -> float:
    """Cortical composite over whole cerebellum of a PET [K, I, J] on a model grid."""
    return region_mean(pet_kij, "cortex") / region_mean(pet_kij, "cerebellum")


def regional_suvr(pet_kij: np.ndarray) -> dict[str, float]:
    """SUVR over whole cerebellum of "cortex" and each of `GREY_REGIONS`, of a PET [K, I, J]."""
    level = region_mean(pet_kij, "cerebellum")
    return {name: region_mean(pet_kij, name) / level for name in ("cortex", *GREY_REGIONS)}
