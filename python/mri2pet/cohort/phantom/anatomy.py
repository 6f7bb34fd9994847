"""The shape of one simulated head: a random affine, a smooth warp, and atrophy.

Subject space is RAS+ mm, the head upright and centred near the template's origin. The map goes
from subject space to the template, the direction that images are pulled through:

    template = q + D(q) + K(q + D(q)),   q = A s

D is a smooth random displacement, K the displacement of atrophy, A the affine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.phantom.fields import Field, sample, spline_field
from mri2pet.cohort.phantom.template import (
    HEAD_ORIGIN_MM,
    HEAD_SHAPE,
    HEAD_SPACING_MM,
    template_fields,
)

ATROPHY_MM = (8.0, 2.8, 3.6)
"""Strength at severity 1 of ventricles, sulci and medial temporal lobe (peak velocity, mm)."""

_SMALLEST_JACOBIAN = 0.25
_SQUARINGS = 3


@dataclass(frozen=True)
class Shape:
    """One person's head at severity 0.

    Attributes:
        affine: 4x4, subject space → template space before the warp.
        warp_mm: float32 [3, X, Y, Z] on the head grid (template space).
        atrophy_gain: how strongly the three atrophy fields follow the severity.
    """

    affine: np.ndarray
    warp_mm: np.ndarray
    atrophy_gain: np.ndarray


@dataclass(frozen=True)
class Anatomy:
    """One person's head at one time: `displacement` holds D and K together on the head grid."""

    affine: np.ndarray
    displacement: Field

    def to_template(self, subject_mm: np.ndarray) -> np.ndarray:
        """Template coordinates, float32 [3, N], of points [3, N] in subject space (mm)."""
        linear = self.affine[:3, :3].astype(np.float32)
        shift = self.affine[:3, 3].astype(np.float32)
        aligned = linear @ np.asarray(subject_mm, dtype=np.float32) + shift[:, None]
        return aligned + sample(self.displacement, aligned, edge="border")


def rotation(angles_rad: np.ndarray) -> np.ndarray:
    """Rotation matrix 3x3: about x, then y, then z."""
    cosine, sine = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, cosine[0], -sine[0]], [0, sine[0], cosine[0]]])
    about_y = np.array([[cosine[1], 0, sine[1]], [0, 1, 0], [-sine[1], 0, cosine[1]]])
    about_z = np.array([[cosine[2], -sine[2], 0], [sine[2], cosine[2], 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def rigid(
    rng: np.random.Generator, degrees: float, shift_mm: float, pivot_mm: tuple[float, ...]
) -> np.ndarray:
    """Random rigid 4x4: rotations with sd `degrees` about a pivot, shifts with sd `shift_mm`."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.deg2rad(degrees) * np.clip(rng.standard_normal(3), -2.2, 2.2))
    pivot = np.asarray(pivot_mm, dtype=np.float64)
    shift = shift_mm * np.clip(rng.standard_normal(3), -2.2, 2.2)
    matrix[:3, 3] = pivot + shift - matrix[:3, :3] @ pivot
    return matrix


def draw_shape(rng: np.random.Generator) -> Shape:
    """Random head: size within 8 %, small rotation and shear, a warp of about 3 mm."""
    size = np.clip(rng.normal(1.0, 0.035) + 0.018 * rng.standard_normal(3), 0.92, 1.08)
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = np.clip(0.015 * rng.standard_normal(3), -0.03, 0.03)
    affine = np.eye(4)
    tilt = rotation(np.deg2rad(1.5) * np.clip(rng.standard_normal(3), -2, 2))
    affine[:3, :3] = tilt @ shear @ np.diag(1.0 / size)
    affine[:3, 3] = np.clip(rng.standard_normal(3), -2, 2) * 1.5
    axes = Field(np.empty((1, *HEAD_SHAPE), np.uint8), HEAD_ORIGIN_MM, HEAD_SPACING_MM).axes_mm()
    warp = np.float32(2.6) * spline_field(rng, axes, 40.0, 3)
    warp += np.float32(0.75) * spline_field(rng, axes, 18.0, 3)
    gain = np.clip(1.0 + np.array([0.16, 0.10, 0.12]) * rng.standard_normal(3), 0.6, 1.4)
    return Shape(affine, _keep_invertible(warp), gain)


def _keep_invertible(warp_mm: np.ndarray) -> np.ndarray:
    """Scale a displacement down until its Jacobian determinant is positive with a margin."""
    coarse = warp_mm[:, ::2, ::2, ::2]
    for _ in range(8):
        jacobian = np.stack([np.stack(np.gradient(c, 2 * HEAD_SPACING_MM)) for c in coarse])
        jacobian[np.arange(3), np.arange(3)] += 1.0
        if float(np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min()) > _SMALLEST_JACOBIAN:
            return warp_mm
        warp_mm, coarse = warp_mm * np.float32(0.85), coarse * np.float32(0.85)
    return warp_mm


def make_anatomy(shape: Shape, severity: float) -> Anatomy:
    """The head of a person at an atrophy severity (0 none, 1 severe)."""
    amounts = np.asarray(ATROPHY_MM) * shape.atrophy_gain * severity
    velocity = np.tensordot(amounts.astype(np.float32), template_fields().atrophy, 1)
    grid = _exponential(Field(velocity, HEAD_ORIGIN_MM, HEAD_SPACING_MM))
    warped = grid.points_mm().reshape(3, -1) + shape.warp_mm.reshape(3, -1)
    total = shape.warp_mm + sample(grid, warped).reshape(shape.warp_mm.shape)
    return Anatomy(shape.affine, Field(total, HEAD_ORIGIN_MM, HEAD_SPACING_MM))


def _exponential(velocity: Field) -> Field:
    """Displacement of flowing along a velocity field for unit time, which is invertible.

    Scaling and squaring (Arsigny et al. 2006, MICCAI, LNCS 4190:924–931).
    """
    points = velocity.points_mm().reshape(3, -1)
    flow = velocity.data / np.float32(2**_SQUARINGS)
    for _ in range(_SQUARINGS):
        field = Field(flow, velocity.origin_mm, velocity.spacing_mm)
        flow = flow + sample(field, points + flow.reshape(3, -1)).reshape(flow.shape)
    return Field(flow, velocity.origin_mm, velocity.spacing_mm)


def best_affine(source_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Least-squares affine 4x4 that takes points [3, N] to points [3, N]."""
    design = np.concatenate([source_mm, np.ones((1, source_mm.shape[1]))]).T.astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, target_mm.T.astype(np.float64), rcond=None)
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return matrix
