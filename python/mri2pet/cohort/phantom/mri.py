"""The simulated T1-weighted MRI: contrast, skull and scalp, bias field, Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.phantom.anatomy import Anatomy, rigid, rotation
from mri2pet.cohort.phantom.fields import sample, spline_field
from mri2pet.cohort.phantom.grids import STEP, Grid, box_grid, brain_points_mm
from mri2pet.cohort.phantom.template import (
    CORD_RADIUS_MM,
    CORD_Y_MM,
    CSF_T1,
    template_fields,
)

ORIENTATIONS = ("RAS", "LAS", "LIA", "PIR")


@dataclass(frozen=True)
class Contrast:
    """Intensities relative to white matter (1), and the thickness of the layers around (mm)."""

    grey: float
    csf: float
    gamma: float
    fat: float
    muscle: float
    marrow: float
    dura_mm: float
    skull_mm: float
    fat_mm: float


@dataclass(frozen=True)
class MriSettings:
    """How one person's MRI is taken; the same at every visit.

    Attributes:
        voxel_mm: edges right, anterior, superior.
        orientation: axis codes that the file stores.
        obliquity_deg: rotation of the grid against the scanner about x, y, z.
        margins_mm: [3, 2] field of view beyond the brain.
        white: intensity of white matter.
        signal_to_noise: white matter over the noise's standard deviation.
        bias: largest relative deviation of the bias field.
        keep_head: whether skull, scalp and neck are there.
        clean_background: whether the scanner set the background to zero.
    """

    contrast: Contrast
    voxel_mm: np.ndarray
    orientation: str
    obliquity_deg: np.ndarray
    margins_mm: np.ndarray
    white: float
    signal_to_noise: float
    bias: float
    keep_head: bool
    clean_background: bool


@dataclass(frozen=True)
class MriScan:
    """A simulated MRI.

    Attributes:
        grid: before reorientation to the stored axes.
        image: int16, the grid's shape.
        brain: bool, the grid's shape.
        subject_from_t1: rigid 4x4, scanner mm → subject space.
    """

    grid: Grid
    image: np.ndarray
    brain: np.ndarray
    subject_from_t1: np.ndarray


def draw_settings(rng: np.random.Generator) -> MriSettings:
    """Random scanner, protocol and contrast."""
    ratio = float(np.clip(rng.normal(1.38, 0.14), 1.15, 1.8))
    grey = 1.0 / ratio
    contrast = Contrast(
        grey=grey,
        csf=float(rng.uniform(0.12, min(0.34, grey - 0.2))),
        gamma=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.3)),
        fat=float(rng.uniform(0.95, 1.7)),
        muscle=float(rng.uniform(0.3, 0.55)),
        marrow=float(rng.uniform(0.2, 0.75)),
        dura_mm=float(rng.uniform(0.5, 2.0)),
        skull_mm=float(rng.uniform(4.5, 8.0)),
        fat_mm=float(rng.uniform(2.0, 6.0)),
    )
    plane = float(np.clip(rng.normal(1.0, 0.1), 0.8, 1.2))
    voxel = np.full(3, plane)
    if rng.random() < 0.4:
        voxel[int(rng.integers(3))] = min(plane * float(rng.uniform(1.1, 1.4)), 1.3)
    keep_head = bool(rng.random() < 0.86)
    margins = np.stack([rng.uniform(10, 22, 3), rng.uniform(10, 22, 3)], axis=1)
    margins[1, 1] = rng.uniform(14, 36)
    margins[2, 0] = rng.uniform(15, 60)
    oblique = rng.random() < 0.3
    return MriSettings(
        contrast=contrast,
        voxel_mm=voxel,
        orientation=str(rng.choice(ORIENTATIONS)),
        obliquity_deg=rng.uniform(-14, 14, 3) if oblique else np.zeros(3),
        margins_mm=margins if keep_head else np.minimum(margins, 20.0),
        white=float(np.exp(rng.uniform(np.log(140), np.log(900)))),
        signal_to_noise=float(rng.uniform(18, 55)),
        bias=float(rng.uniform(0.04, 0.20)),
        keep_head=keep_head,
        clean_background=bool(rng.random() < 0.5),
    )


def scan_mri(anatomy: Anatomy, settings: MriSettings, rng: np.random.Generator) -> MriScan:
    """Take one MRI: position the head, choose the grid, render, distort, add noise."""
    t1_from_subject = rigid(rng, 4.0, 6.0, (0.0, -20.0, 0.0))
    subject_from_t1 = np.linalg.inv(t1_from_subject)
    brain_mm = t1_from_subject[:3, :3] @ brain_points_mm(anatomy) + t1_from_subject[:3, 3:]
    axes = rotation(np.deg2rad(settings.obliquity_deg))
    grid = box_grid(brain_mm, axes, settings.voxel_mm, settings.margins_mm)
    inside = _candidates(grid, anatomy, subject_from_t1, settings.keep_head)
    points = np.stack([p[inside] for p in grid.points(subject_from_t1)])
    signal, brain = _render(anatomy.to_template(points), settings)
    signal *= _bias_field(grid, settings.bias, rng)[inside]
    image = _add_noise(signal, inside, settings, rng)
    brain_mask = np.zeros(grid.shape, dtype=bool)
    brain_mask[inside] = brain
    return MriScan(grid, image, brain_mask, subject_from_t1)


def _candidates(
    grid: Grid, anatomy: Anatomy, subject_from_t1: np.ndarray, keep_head: bool
) -> np.ndarray:
    """Voxels that can hold tissue, bool of the grid's shape."""
    coarse = grid.points(subject_from_t1, STEP)
    shape = coarse[0].shape
    template = anatomy.to_template(np.stack([c.ravel() for c in coarse]))
    shared = template_fields()
    distance = sample(shared.surface if keep_head else shared.hull, template, edge="border")[0]
    return grid.near((distance < 1.0).reshape(shape))


def _render(template_mm: np.ndarray, settings: MriSettings) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free signal float32 [N] (white matter 1) and brain mask bool [N]."""
    shared = template_fields()
    hull = sample(shared.hull, template_mm, edge="border")[0]
    signal = np.zeros(template_mm.shape[1], dtype=np.float32)
    share = np.zeros_like(signal)
    around = hull < 6.0
    t1, share[around] = sample(shared.brain, template_mm[:, around])
    if settings.keep_head:
        signal += np.float32(settings.contrast.csf)
        outer = (hull > -1.0) | (template_mm[2] < -71.0)
        signal[outer] = _around_the_brain(template_mm[:, outer], settings.contrast)
    lookup = _brain_lookup(settings.contrast)
    brain_signal = lookup[np.clip(t1 * 1000.0, 0, len(lookup) - 1).astype(np.int16)]
    weight = share[around]
    signal[around] = weight * brain_signal + (1.0 - weight) * signal[around]
    return signal, share > 0.5


def _brain_lookup(contrast: Contrast) -> np.ndarray:
    """Signal for template intensities 0, 0.001, ... 1.1."""
    template = np.arange(1101) / 1000.0
    knots = (0.0, CSF_T1 - 0.03, 0.645, 0.875, 1.1)
    values = (0.5 * contrast.csf, contrast.csf, contrast.grey, 1.0, 1.08)
    curve = np.interp(template, knots, values)
    # Bends the way from one tissue to the next and leaves white matter at 1.
    return np.asarray(curve**contrast.gamma, dtype=np.float32)


def _around_the_brain(template_mm: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Signal of CSF, skull, muscle, fat, skin, air, eyes and cord: float32 [N]."""
    head = template_fields().head
    hull, surface, air, eyes, texture = sample(head, template_mm, edge="border")
    depth = -surface
    skull = np.float32(contrast.skull_mm) * (1.0 + np.float32(0.12) * texture)
    beyond = hull - np.float32(contrast.dura_mm)
    middle = 1.0 - np.abs(2.0 * beyond / skull - 1.0)
    bone = 0.06 + contrast.marrow * np.clip(1.6 * middle - 0.5, 0.0, 1.0)
    streaks = np.clip(1.4 * (texture - 0.35), 0.0, 1.0)
    muscle = contrast.muscle * (1.0 + np.float32(0.1) * texture)
    deep = muscle + (0.75 * contrast.fat - muscle) * streaks
    fat_depth = np.float32(contrast.fat_mm) * (1.0 + np.float32(0.25) * texture) + 1.5
    fat = np.clip(fat_depth - depth + 0.5, 0.0, 1.0) * np.clip(depth - 1.0, 0.0, 1.0)
    soft = deep + (contrast.fat - deep) * fat
    soft += (0.9 * contrast.muscle + 0.15 - soft) * np.clip(2.0 - depth, 0.0, 1.0)
    soft += (0.15 - soft) * np.clip(0.5 - eyes, 0.0, 1.0)
    soft *= np.clip(air + 0.5, 0.03, 1.0)
    signal = soft + (bone - soft) * np.clip(skull - beyond, 0.0, 1.0)
    signal += (contrast.csf - signal) * np.clip(0.5 - beyond, 0.0, 1.0)
    below = template_mm[2] < -71.0
    radius = np.hypot(template_mm[0, below], template_mm[1, below] - np.float32(CORD_Y_MM))
    cord = np.clip(CORD_RADIUS_MM - radius + 0.5, 0.0, 1.0)
    signal[below] += (0.9 - signal[below]) * cord
    return np.asarray(signal * np.clip(depth + 0.5, 0.0, 1.0), dtype=np.float32)


def _bias_field(grid: Grid, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth positive factor within 1 ± strength, float32 of the grid's shape."""
    x, y, z = (
        np.asarray(np.arange(n) * v, dtype=np.float32)
        for n, v in zip(grid.shape, grid.voxel_mm, strict=True)
    )
    field = spline_field(rng, (x, y, z), 110.0, 1)[0]
    field -= field.mean()
    field *= np.float32(strength) / np.abs(field).max()
    field += 1.0
    return field


def _add_noise(
    signal: np.ndarray, inside: np.ndarray, settings: MriSettings, rng: np.random.Generator
) -> np.ndarray:
    """Rician noise, scaling and rounding: int16 of the grid's shape."""
    sd = np.float32(1.0 / settings.signal_to_noise)
    image = np.zeros(inside.shape, dtype=np.float32)
    image[inside] = signal
    if settings.clean_background or not settings.keep_head:
        tissue = signal > 0.02
        real = signal + sd * rng.standard_normal(signal.shape, dtype=np.float32)
        imaginary = sd * rng.standard_normal(signal.shape, dtype=np.float32)
        image[inside] = np.where(tissue, np.hypot(real, imaginary), 0.0)
    else:
        image += sd * rng.standard_normal(image.shape, dtype=np.float32)
        imaginary = sd * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.hypot(image, imaginary, out=image)
    image *= np.float32(settings.white)
    return np.clip(np.rint(image, out=image), 0, 32000).astype(np.int16)
