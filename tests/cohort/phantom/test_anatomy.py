"""Shapes: size, invertibility, and what atrophy does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mri2pet.cohort.phantom.anatomy import Shape, best_affine, draw_shape, make_anatomy
from mri2pet.cohort.phantom.fields import sample
from mri2pet.cohort.phantom.people import generator
from mri2pet.cohort.phantom.template import HEAD_SHAPE, template_fields


@pytest.fixture(scope="module")
def plain() -> Shape:
    return Shape(np.eye(4), np.zeros((3, *HEAD_SHAPE), np.float32), np.ones(3))


def _tissue(anatomy) -> np.ndarray:
    """Grey, white, CSF in the brain and brain, pulled to the subject: [4, X, Y, Z]."""
    points = anatomy.displacement.points_mm().reshape(3, -1)
    return sample(template_fields().tissue, anatomy.to_template(points))[:4].reshape(4, *HEAD_SHAPE)


def _jacobian(displacement: np.ndarray, spacing_mm: float) -> np.ndarray:
    gradient = np.stack([np.stack(np.gradient(c, spacing_mm)) for c in displacement])
    gradient[np.arange(3), np.arange(3)] += 1.0
    return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))


@pytest.mark.slow
def test_atrophy_opens_ventricles_and_thins_grey_matter(plain):
    healthy, severe = (_tissue(make_anatomy(plain, s)) for s in (0.0, 1.0))
    points = make_anatomy(plain, 0.0).displacement.points_mm()
    x, y, z = np.abs(points[0]), points[1], points[2]
    ventricles = (x < 36) & (y > -60) & (y < 45) & (z > -12) & (z < 38)
    hippocampus = (np.abs(x - 27) < 9) & (np.abs(y + 20) < 14) & (np.abs(z + 14) < 8)
    assert severe[2][ventricles].sum() > 1.7 * healthy[2][ventricles].sum()
    convexity = z > 38
    assert severe[2][convexity].sum() > 1.15 * healthy[2][convexity].sum()
    assert severe[0][convexity].sum() < 0.92 * healthy[0][convexity].sum()
    assert severe[0][hippocampus].sum() < 0.95 * healthy[0][hippocampus].sum()
    assert severe[0].sum() < 0.92 * healthy[0].sum()


@pytest.mark.slow
def test_atrophy_grows_with_severity(plain):
    grey = [_tissue(make_anatomy(plain, s))[0].sum() for s in (0.0, 0.3, 0.6, 0.9)]
    assert all(later < earlier for earlier, later in itertools.pairwise(grey))


def test_atrophy_does_not_fold(plain):
    displacement = make_anatomy(plain, 0.9).displacement
    assert _jacobian(displacement.data, displacement.spacing_mm).min() > 0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_shape_is_invertible_and_within_8_percent(number):
    shape = draw_shape(generator(9, number, 1))
    assert _jacobian(shape.warp_mm, 2.0).min() > 0
    size = np.linalg.svd(np.linalg.inv(shape.affine[:3, :3]), compute_uv=False)
    assert 0.89 < size.min() <= size.max() < 1.11
    assert 1.0 < np.linalg.norm(shape.warp_mm, axis=0).max() < 20.0


def test_best_affine_recovers_an_affine():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 50)) * 40
    matrix = np.eye(4)
    matrix[:3] += rng.normal(size=(3, 4)) * 0.1
    moved = matrix[:3, :3] @ points + matrix[:3, 3:]
    np.testing.assert_allclose(best_affine(points, moved), matrix, atol=1e-9)
