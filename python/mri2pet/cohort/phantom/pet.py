"""The simulated AV45 PET: uptake by tissue and region, scanner blur, counts, frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.phantom.anatomy import Anatomy, rigid
from mri2pet.cohort.phantom.fields import Field, gaussian, sample, spline_field
from mri2pet.cohort.phantom.grids import Grid, box_grid, brain_points_mm
from mri2pet.cohort.phantom.template import (
    HEAD_ORIGIN_MM,
    HEAD_SHAPE,
    HEAD_SPACING_MM,
    template_fields,
)
from mri2pet.imaging.suvr.regions import REGIONS

ORIENTATIONS = ("RAS", "LAS", "LPS")

AMYLOID_PATTERN = {
    "frontal": 0.95,
    "cingulate": 1.0,
    "precuneus": 1.08,
    "parietal": 0.95,
    "lateral_temporal": 0.92,
    "medial_temporal": 0.32,
    "occipital": 0.55,
    "sensorimotor": 0.36,
    "insula": 0.60,
    "striatum": 0.75,
    "thalamus": 0.25,
    "brainstem": 0.0,
}
"""How much of the amyloid load each region takes (precuneus and cingulate most)."""

GREY_BASE = {"striatum": 1.05, "thalamus": 1.2, "brainstem": 1.65}
"""Uptake of deep grey matter without amyloid, relative to cortex."""

AMYLOID_GAIN = 1.35
"""Uptake that an amyloid load of 1 adds to grey matter, relative to cortex without amyloid."""

CEREBELLAR_GREY, CEREBROSPINAL_FLUID = 0.82, 0.30
SKULL, SOFT_TISSUE, AIR = 0.36, 0.75, 0.08

_BOX_LOW_MM, _BOX_HIGH_MM = (-96.0, -134.0, -116.0), (96.0, 112.0, 104.0)
_INTRINSIC_FWHM_MM = 2.6


@dataclass(frozen=True)
class Tracer:
    """How one person takes the tracer up, the same at every visit.

    Attributes:
        white: non-specific uptake of white matter, relative to cerebellar cortex about 0.9.
        grey: uptake of cortex without amyloid.
        region_factor: personal factors of the amyloid pattern, [len(REGIONS)].
        modulation: smooth local factor on the head grid, float32.
    """

    white: float
    grey: float
    region_factor: np.ndarray
    modulation: np.ndarray


@dataclass(frozen=True)
class PetSettings:
    """The PET scanner and protocol of one person."""

    fwhm_mm: float
    voxel_mm: np.ndarray
    orientation: str
    margins_mm: np.ndarray
    noise: float
    activity_bq_ml: float
    frames: int


@dataclass(frozen=True)
class TrueUptake:
    """Noise-free SUVR in subject space as the scanner's resolution shows it."""

    suvr: Field
    cortical_suvr: float


@dataclass(frozen=True)
class PetScan:
    """A simulated PET.

    Attributes:
        grid: before reorientation.
        frames: float32 [X, Y, Z, F], Bq/mL.
        t1_from_frame: one rigid 4x4 a frame, PET scanner mm → T1 scanner mm.
        scale_to_suvr: Bq/mL times this is SUVR.
    """

    grid: Grid
    frames: np.ndarray
    t1_from_frame: list[np.ndarray]
    scale_to_suvr: float


def draw_tracer(rng: np.random.Generator) -> Tracer:
    """Random uptake of one person."""
    axes = Field(np.empty((1, *HEAD_SHAPE), np.uint8), HEAD_ORIGIN_MM, HEAD_SPACING_MM).axes_mm()
    local = spline_field(rng, axes, 30.0, 1)[0]
    return Tracer(
        white=float(np.clip(rng.normal(1.50, 0.07), 1.3, 1.65)),
        grey=float(np.clip(rng.normal(0.81, 0.03), 0.74, 0.89)),
        region_factor=np.exp(0.10 * rng.standard_normal(len(REGIONS))),
        modulation=1.0 + np.float32(0.10) * np.clip(local, -2, 2),
    )


def draw_settings(rng: np.random.Generator) -> PetSettings:
    """Random scanner: resolution, voxels, field of view, counts, static or dynamic."""
    plane = float(rng.uniform(2.0, 3.0))
    margins = np.stack([rng.uniform(22, 45, 3), rng.uniform(22, 45, 3)], axis=1)
    margins[2] = rng.uniform(12, 28, 2)
    return PetSettings(
        fwhm_mm=float(rng.uniform(5.0, 8.0)),
        voxel_mm=np.array([plane, plane, float(rng.uniform(2.0, 3.5))]),
        orientation=str(rng.choice(ORIENTATIONS)),
        margins_mm=margins,
        noise=float(rng.uniform(0.015, 0.05)),
        activity_bq_ml=float(rng.uniform(3000, 9000)),
        frames=int(rng.integers(4, 7)) if rng.random() < 0.25 else 1,
    )


def template_uptake(tracer: Tracer, amyloid: float) -> Field:
    """Uptake of brain tissue and brain share on the head grid (template space), 2 channels."""
    shared = template_fields()
    grey, white, csf, brain, infratentorial, _, _ = shared.tissue.data
    pattern = np.array([AMYLOID_PATTERN[name] for name in REGIONS]) * tracer.region_factor
    base = np.array([GREY_BASE.get(name, 1.0) for name in REGIONS])
    load = np.tensordot(pattern.astype(np.float32), shared.regions, 1) * tracer.modulation
    cortex = np.float32(tracer.grey) * np.tensordot(base.astype(np.float32), shared.regions, 1)
    cortex += np.float32(AMYLOID_GAIN * amyloid) * load
    cerebellar = infratentorial > 0
    cortex[cerebellar] = CEREBELLAR_GREY
    white_uptake = np.float32(tracer.white)
    # Neighbouring amyloid also raises white matter a little.
    white_uptake = white_uptake + np.float32(0.18 * max(amyloid, 0.0)) * load
    uptake = grey * cortex + white * white_uptake + csf * CEREBROSPINAL_FLUID
    channels = np.stack([uptake, brain]).astype(np.float32)
    return Field(channels, HEAD_ORIGIN_MM, HEAD_SPACING_MM)


def true_uptake(anatomy: Anatomy, tracer: Tracer, amyloid: float, fwhm_mm: float) -> TrueUptake:
    """SUVR (whole cerebellum = 1) at the scanner's resolution, without noise."""
    shared = template_fields()
    shape = tuple(
        round((high - low) / HEAD_SPACING_MM) + 1
        for low, high in zip(_BOX_LOW_MM, _BOX_HIGH_MM, strict=True)
    )
    box = Field(np.empty((1, *shape), dtype=np.uint8), _BOX_LOW_MM, HEAD_SPACING_MM)
    template_mm = anatomy.to_template(box.points_mm().reshape(3, -1))
    brain_uptake, brain = sample(template_uptake(tracer, amyloid), template_mm)
    outside = brain < 0.99
    uptake = brain_uptake
    uptake[outside] += (1.0 - brain[outside]) * _around_the_brain(template_mm[:, outside])
    added = float(np.sqrt(fwhm_mm**2 - _INTRINSIC_FWHM_MM**2))
    blurred = gaussian(uptake.reshape(shape), added, HEAD_SPACING_MM)
    masks = Field(shared.tissue.data[5:7], HEAD_ORIGIN_MM, HEAD_SPACING_MM)
    cerebellum, composite = (m.reshape(shape) > 0.5 for m in sample(masks, template_mm))
    blurred /= np.float32(blurred[cerebellum].mean())
    suvr = Field(blurred[None], _BOX_LOW_MM, HEAD_SPACING_MM)
    return TrueUptake(suvr, float(blurred[composite].mean()))


def _around_the_brain(template_mm: np.ndarray) -> np.ndarray:
    """Uptake of CSF, skull, scalp, face and neck: float32 [N]."""
    hull, surface, air, _, texture = sample(template_fields().head, template_mm, edge="border")
    soft = SOFT_TISSUE * (1.0 + np.float32(0.15) * texture) * np.clip(0.5 + air / 2, AIR, 1.0)
    value = soft + (SKULL - soft) * np.clip((8.0 - hull) / 2, 0.0, 1.0)
    value += (CEREBROSPINAL_FLUID - value) * np.clip((1.5 - hull) / 2, 0.0, 1.0)
    return np.asarray(value * np.clip(0.5 - surface / 2, 0.0, 1.0), dtype=np.float32)


def scan_pet(
    anatomy: Anatomy,
    uptake: TrueUptake,
    settings: PetSettings,
    subject_from_t1: np.ndarray,
    rng: np.random.Generator,
) -> PetScan:
    """Take one PET: offset from the T1, frames with small motion, count noise."""
    t1_from_pet = rigid(rng, 3.0, 5.0, (0.0, -20.0, 0.0))
    pet_from_subject = np.linalg.inv(subject_from_t1 @ t1_from_pet)
    brain_mm = pet_from_subject[:3, :3] @ brain_points_mm(anatomy) + pet_from_subject[:3, 3:]
    grid = box_grid(brain_mm, np.eye(3), settings.voxel_mm, settings.margins_mm)
    frames = np.empty((*grid.shape, settings.frames), dtype=np.float32)
    transforms = []
    for index in range(settings.frames):
        motion = np.eye(4) if index == 0 else rigid(rng, 0.6, 0.7, (0.0, -20.0, 0.0))
        transforms.append(t1_from_pet @ motion)
        points = grid.flat_points(subject_from_t1 @ transforms[-1])
        clean = sample(uptake.suvr, points)[0].reshape(grid.shape)
        level = settings.noise * np.sqrt(settings.frames) * rng.uniform(0.8, 1.25)
        noisy = clean + _count_noise(clean, grid, settings, level, rng)
        frames[..., index] = np.clip(noisy, 0.0, None) * np.float32(settings.activity_bq_ml)
    return PetScan(grid, frames, transforms, 1.0 / settings.activity_bq_ml)


def _count_noise(
    clean: np.ndarray,
    grid: Grid,
    settings: PetSettings,
    level: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Noise that grows with the root of activity and is as smooth as a reconstruction."""
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    spacing = float(np.prod(grid.voxel_mm) ** (1.0 / 3.0))
    noise = gaussian(white, 0.75 * settings.fwhm_mm, spacing)
    noise *= np.float32(level) / noise.std()
    return noise * np.sqrt(clean + np.float32(0.03))
