"""Axes: every stored order comes to RAS and back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from mri2pet.imaging.space.volume import Volume, axis_cosines, reorder, restore_order

ORDERS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_each_of_the_48_orders_comes_to_ras_and_back(axes, flips):
    data = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    affine = np.zeros((4, 4))
    for stored, (world, sign) in enumerate(zip(axes, flips, strict=True)):
        affine[world, stored] = sign * (1.0 + stored)
    affine[:, 3] = [7, -8, 9, 1]
    ordered, ordered_affine, order = reorder(data, affine)
    assert (np.diag(ordered_affine)[:3] > 0).all()
    assert np.count_nonzero(ordered_affine[:3, :3]) == 3
    for index in ((0, 0, 0), (2, 1, 3), (1, 3, 4)):
        where = affine @ [*index, 1]
        there = np.rint(np.linalg.inv(ordered_affine) @ where)[:3].astype(int)
        assert ordered[tuple(there)] == data[index]
    np.testing.assert_array_equal(restore_order(ordered, order), data)


def test_voxel_size_and_volume():
    volume = Volume(np.zeros((2, 2, 2), np.float32), np.diag([-1.0, 2.0, 3.0, 1.0]))
    np.testing.assert_allclose(volume.voxel_size_mm, [1, 2, 3])
    assert volume.voxel_volume_ml == pytest.approx(0.006)


def test_a_volume_has_three_axes():
    with pytest.raises(ValueError, match="three axes"):
        Volume(np.zeros((2, 2)), np.eye(4))
    with pytest.raises(ValueError, match="4 x 4"):
        Volume(np.zeros((2, 2, 2)), np.eye(3))


def test_axis_cosines_measure_shear():
    sheared = np.eye(4)
    sheared[0, 1] = 1.0
    np.testing.assert_allclose(axis_cosines(sheared), [np.sqrt(0.5), 0, 0])
    np.testing.assert_allclose(axis_cosines(np.diag([1.0, -2, 3, 1])), 0)
