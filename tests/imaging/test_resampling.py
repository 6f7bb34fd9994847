"""Resampling between grids."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.resampling import INTERPOLATIONS, bounding_box, crop_affine, resample


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_same_grid_gives_the_same_values(interpolation):
    data = np.random.default_rng(0).random((9, 7, 8)).astype(np.float32)
    affine = np.diag([2.0, 3.0, -1.5, 1.0])
    out = resample(data, affine, data.shape, affine, interpolation=interpolation)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, data, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "sinc"])
def test_a_plane_is_read_at_transformed_places(interpolation):
    shape = (24, 25, 26)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-10, 5, 3]
    index = np.indices(shape)
    world = np.einsum("ab,bxyz->axyz", affine[:3, :3], index) + affine[:3, 3][:, None, None, None]
    data = (world[0] + 2 * world[1] - world[2]).astype(np.float32)
    source_from_target = np.eye(4)
    source_from_target[:3, 3] = [14.3, 17.1, 16.7]
    target = np.diag([1.3, 1.1, 1.2, 1.0])
    out = resample(data, affine, (9, 10, 8), target, source_from_target, interpolation)
    places = np.einsum("ab,bxyz->axyz", target[:3, :3], np.indices((9, 10, 8)))
    places = places + np.array([14.3, 17.1, 16.7])[:, None, None, None]
    expected = places[0] + 2 * places[1] - places[2]
    tolerance = {"linear": 1e-4, "cubic": 0.05, "sinc": 0.5}[interpolation]
    np.testing.assert_allclose(out, expected, atol=tolerance)


def test_outside_is_zero():
    out = resample(np.ones((4, 4, 4)), np.eye(4), (4, 4, 4), np.eye(4) + np.eye(4, k=3) * 100)
    assert not out.any()


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="none of nearest, linear, cubic, sinc"):
        resample(np.ones((2, 2, 2)), np.eye(4), (2, 2, 2), np.eye(4), interpolation="lanczos")


def test_bounding_box_and_its_affine():
    mask = np.zeros((10, 11, 12), bool)
    mask[3:5, 4, 6:9] = True
    box = bounding_box(mask)
    assert box == (slice(3, 5), slice(4, 5), slice(6, 9))
    assert bounding_box(mask, margin=4)[0] == slice(0, 9)
    assert bounding_box(np.zeros((2, 3, 4), bool)) == (slice(0, 2), slice(0, 3), slice(0, 4))
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(crop_affine(affine, box)[:3, 3], [6, 12, 24])
