"""What all simulated subjects share, computed once a process from the template.

Everything lies in template space (MNI152NLin2009aSym, RAS+ mm).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mri2pet.cohort.parallel import one_thread
from mri2pet.cohort.phantom.fields import (
    Field,
    channels_side_by_side,
    gaussian,
    halve,
    spline_field,
)
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.regions import (
    REGIONS,
    below_tentorium,
    cerebellum,
    cortical_composite,
    region_weights,
    tissue_maps,
)

HEAD_ORIGIN_MM = (-104.0, -150.0, -160.0)
HEAD_SHAPE = (105, 136, 139)
HEAD_SPACING_MM = 2.0
"""The grid of head, displacements and atrophy: 2 mm, large enough for face and neck."""

CSF_T1 = 0.25
"""Intensity of cerebrospinal fluid in the template T1."""

CORD_Y_MM, CORD_RADIUS_MM, CANAL_RADIUS_MM = -48.0, 5.5, 9.0
"""The spinal cord continues the brainstem straight down, where the template ends."""


@dataclass(frozen=True)
class TemplateFields:
    """Shared fields.

    Attributes:
        brain: 1 mm; T1 (sharpened, CSF outside the brain) and brain mask.
        head: 2 mm; signed distance (mm, negative inside) to the brain's hull, the head's surface,
            the air cavities and the eyes; texture (mean 0, sd 1).
        hull, surface: the first two channels of `head`.
        tissue: 2 mm; grey matter, white matter, CSF in the brain, brain, tissue of the
            cerebellum, and the masks of whole cerebellum and cortical composite.
        regions: 2 mm, float32 [len(REGIONS), X, Y, Z]: memberships, sum 1 in the brain.
        atrophy: 2 mm; three velocity fields (ventricles, sulci, medial temporal), float32
            [3, 3, X, Y, Z], mm, peak about 1; they point to what opens (pull-back direction).
    """

    brain: Field
    head: Field
    hull: Field
    surface: Field
    tissue: Field
    regions: np.ndarray
    atrophy: np.ndarray


@lru_cache(maxsize=1)
@one_thread()
def template_fields() -> TemplateFields:
    """Build the shared fields (a few seconds)."""
    t1, gm, wm, affine = tissue_maps(1)
    brain = t1 > 0
    origin = (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3]))
    brain_channels = np.stack([_sharpen(t1, brain), brain.astype(np.float32)])
    t1_field = Field(channels_side_by_side(brain_channels), origin, 1.0)
    csf = brain * np.clip(1.0 - gm - wm, 0.0, 1.0)
    dark = brain * np.clip((0.6 - t1) / 0.3, 0.0, 1.0)
    tissue = _onto_head_grid([gm, wm, csf, brain.astype(np.float32), dark], origin)
    grid = Field(tissue, HEAD_ORIGIN_MM, HEAD_SPACING_MM)
    points = grid.points_mm()
    infratentorial = below_tentorium(np.moveaxis(points, 0, -1))
    regions = _regions(points, tissue[3] > 0, infratentorial)
    atrophy = _atrophy(points, tissue, regions, infratentorial)
    infratentorial_tissue = infratentorial * (tissue[0] + tissue[1])
    references = [_embed(mask(2)) for mask in (cerebellum, cortical_composite)]
    channels = np.stack([*tissue[:4], infratentorial_tissue, *references]).astype(np.float32)
    head = _head(points, tissue[3] > 0.5)
    return TemplateFields(
        brain=t1_field,
        head=_on_head_grid(head),
        hull=_on_head_grid(head[:1]),
        surface=_on_head_grid(head[1:2]),
        tissue=_on_head_grid(channels),
        regions=regions,
        atrophy=atrophy,
    )


def _on_head_grid(channels: np.ndarray) -> Field:
    return Field(channels_side_by_side(channels), HEAD_ORIGIN_MM, HEAD_SPACING_MM)


def _sharpen(t1: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Undo some of the blur of averaging many people: unsharp mask inside the brain."""
    filled = np.where(brain, t1, np.float32(CSF_T1))
    sharp = filled + 0.8 * (filled - gaussian(filled, 2.8, 1.0))
    return np.where(brain, np.clip(sharp, 0.1, 1.05), np.float32(CSF_T1)).astype(np.float32)


def _onto_head_grid(volumes: list[np.ndarray], origin: tuple[float, float, float]) -> np.ndarray:
    """Put 1 mm volumes on the head grid with weights 1/4, 1/2, 1/4 along each axis.

    The template's first voxel coincides with a voxel of the head grid.
    """
    offset = (np.asarray(origin) - HEAD_ORIGIN_MM) / HEAD_SPACING_MM
    first = offset.round().astype(int)
    if not np.allclose(first, offset):
        raise ValueError(f"the template starts at {origin} mm, between voxels of the head grid")
    out = np.zeros((len(volumes), *HEAD_SHAPE), dtype=np.float32)
    for channel, volume in enumerate(volumes):
        smooth = np.pad(volume, 1)
        for axis in range(3):
            last = smooth.shape[axis] - 1
            smooth = 0.5 * (
                np.take(smooth, range(last), axis) + np.take(smooth, range(1, last + 1), axis)
            )
        small = halve(smooth)
        x, y, z = (slice(f, f + n) for f, n in zip(first, small.shape, strict=True))
        out[channel, x, y, z] = small
    return out


def _embed(mask: Volume) -> np.ndarray:
    """A 2 mm template mask on the head grid."""
    first = (mask.affine[:3, 3] - HEAD_ORIGIN_MM) / HEAD_SPACING_MM
    out = np.zeros(HEAD_SHAPE, dtype=np.float32)
    starts = first.round().astype(int)
    out[tuple(slice(f, f + n) for f, n in zip(starts, mask.data.shape, strict=True))] = mask.data
    return out


def _regions(points: np.ndarray, brain: np.ndarray, infratentorial: np.ndarray) -> np.ndarray:
    weights = np.zeros((len(REGIONS), *HEAD_SHAPE), dtype=np.float32)
    voxels = brain & ~infratentorial
    weights[:, voxels] = region_weights(points[:, voxels].T)
    return weights


def _potential_gradient(density: np.ndarray, fwhm_mm: float) -> np.ndarray:
    """Gradient of the blurred density, scaled to 1 at its 99.5th percentile: [3, X, Y, Z]."""
    smooth = gaussian(density, fwhm_mm, HEAD_SPACING_MM)
    gradient = np.stack(np.gradient(smooth)).astype(np.float32)
    length = np.sqrt((gradient**2).sum(axis=0))
    return gradient / np.float32(np.percentile(length[length > 1e-3 * length.max()], 99.5))


def _atrophy(
    points: np.ndarray, tissue: np.ndarray, regions: np.ndarray, infratentorial: np.ndarray
) -> np.ndarray:
    """Displacements that open the ventricles, open the sulci, and shrink the hippocampus."""
    x, y, z = np.abs(points[0]), points[1], points[2]
    csf = tissue[2]
    ventricle_box = (x < 36) & (y > -52) & (y < 38) & (z > -12) & (z < 32)
    behind_splenium = (y < -28) & (x < 12) & (z < 16)
    ventricles = csf * (ventricle_box & ~behind_splenium)
    ventricular = _potential_gradient(ventricles, 13.0)
    susceptibility = dict.fromkeys(REGIONS, 1.0) | {
        "occipital": 0.5,
        "sensorimotor": 0.55,
        "lateral_temporal": 1.25,
        "medial_temporal": 1.3,
        "striatum": 0.3,
        "thalamus": 0.2,
        "brainstem": 0.05,
    }
    weight = np.tensordot(
        np.array([susceptibility[name] for name in REGIONS], dtype=np.float32), regions, 1
    )
    weight = gaussian(np.where(infratentorial, 0.15, weight).astype(np.float32), 6.0, 2.0)
    sulci = tissue[4] * (ventricles < 0.05) + 0.4 * (1.0 - tissue[3])
    sulcal = 1.5 * _potential_gradient(sulci.astype(np.float32), 5.0) * weight
    towards = np.stack([points[0] - np.sign(points[0]) * 27.0, y + 20.0, z + 14.0])
    squared = (towards[0] / 8.0) ** 2 + (towards[1] / 15.0) ** 2 + (towards[2] / 8.0) ** 2
    medial_temporal = towards * np.exp(-0.5 * squared) / 5.5
    medial_temporal[1] *= 0.5
    return np.stack([ventricular, sulcal, medial_temporal]).astype(np.float32)


def _head(points: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Signed distances to hull, head surface, air and eyes, and texture: [5, X, Y, Z]."""
    from scipy import ndimage

    x, y, z = points
    radius = 6
    ball = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 3)) ** 2
    closed = ndimage.binary_closing(brain, ball.sum(axis=0) <= radius**2)
    canal = np.hypot(x, y - CORD_Y_MM) < CANAL_RADIUS_MM
    hull_mask = closed | (canal & (z < -60))
    outside = ndimage.distance_transform_edt(~hull_mask) * HEAD_SPACING_MM
    inside = ndimage.distance_transform_edt(hull_mask) * HEAD_SPACING_MM
    hull = gaussian(np.asarray(outside - inside, dtype=np.float32), 3.0, HEAD_SPACING_MM)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]):
        scaled = [(p - c) / r for p, c, r in zip((x, y, z), centre, radii, strict=True)]
        return (np.sqrt(sum(s**2 for s in scaled)) - 1.0) * min(radii)

    cranium = np.where(z > -75, hull, np.maximum(hull, -75 - z)) - 14.0
    neck_radius = np.hypot(x / 1.0, (y + 28 - 0.12 * (z + 80)) / 1.08) - 57.0
    neck = np.maximum(neck_radius, z + 45.0)
    face = np.minimum(ellipsoid((0, 42, -62), (66, 60, 82)), ellipsoid((0, 100, -52), (15, 20, 24)))
    surface = _smooth_minimum(_smooth_minimum(cranium, neck, 14.0), face, 10.0)
    air = ellipsoid((0, 66, -52), (13, 34, 22))
    air = np.minimum(air, np.maximum(np.hypot(x / 1.2, y - 14) - 9.0, z + 62))
    eyes = np.minimum(
        ellipsoid((33, 68, -37), (12.5, 12.5, 12.5)), ellipsoid((-33, 68, -37), (12.5, 12.5, 12.5))
    )
    rng = np.random.default_rng(20)
    axes = Field(brain[None], HEAD_ORIGIN_MM, HEAD_SPACING_MM).axes_mm()
    texture = 0.75 * spline_field(rng, axes, 14.0, 1)[0] + 0.65 * spline_field(rng, axes, 6.0, 1)[0]
    return np.stack([hull, surface, air, eyes, texture]).astype(np.float32)


def _smooth_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Union of two shapes given by signed distances, with a rounded seam."""
    blend = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return b + (a - b) * blend - width * blend * (1.0 - blend)
