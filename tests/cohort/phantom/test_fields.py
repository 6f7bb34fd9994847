"""Sampling and smooth fields."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mri2pet.cohort.phantom.fields import Field, bspline_weights, halve, sample, spline_field


def test_sampling_agrees_with_scipy():
    rng = np.random.default_rng(1)
    data = rng.random((2, 7, 9, 5)).astype(np.float32)
    field = Field(data, (-4.0, 3.0, 10.0), 2.0)
    index = rng.uniform(0, 1, (3, 40)) * (np.array([[7], [9], [5]]) - 1)
    points = (index * 2.0 + np.array([[-4.0], [3.0], [10.0]])).astype(np.float32)
    expected = [ndimage.map_coordinates(c, index, order=1) for c in data]
    np.testing.assert_allclose(sample(field, points), expected, atol=1e-5)


@pytest.mark.parametrize(("edge", "value"), [("zeros", 0.0), ("border", 3.0)])
def test_outside_the_grid(edge, value):
    field = Field(np.full((1, 4, 4, 4), 3.0, np.float32), (0.0, 0.0, 0.0), 1.0)
    far = np.array([[50.0], [50.0], [50.0]], np.float32)
    assert sample(field, far, edge=edge)[0, 0] == pytest.approx(value)


def test_spline_basis_sums_to_one():
    weights = bspline_weights(np.linspace(0.0, 30.0, 61), -10.0, 10.0, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_spline_field_has_unit_spread_and_is_smooth():
    axes = tuple(np.arange(0.0, 200.0, 4.0, dtype=np.float32) for _ in range(3))
    field = spline_field(np.random.default_rng(2), axes, 20.0, 2)
    assert 0.8 < field.std() < 1.2
    assert np.abs(np.diff(field, axis=1)).max() < 0.35 * np.abs(field).max()


def test_halve_takes_the_mean_of_blocks():
    volume = np.arange(5 * 4 * 2, dtype=np.float32).reshape(5, 4, 2)
    small = halve(volume)
    assert small.shape == (2, 2, 1)
    assert small[1, 0, 0] == volume[2:4, 0:2, 0:2].mean()
