"""The model grid: where its voxels are."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.space.grid import MODEL_BOX_MM, grid_affine, to_kij, to_xyz, voxel_size_mm

SHAPES = [(32, 72, 72), (32, 64, 64), (64, 144, 144), (32, 128, 128), (1, 3, 17)]


@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_fill_the_box_exactly(shape):
    affine = grid_affine(shape)
    k, i, j = shape
    low_edge = affine @ [-0.5, -0.5, -0.5, 1]
    high_edge = affine @ [i - 0.5, j - 0.5, k - 0.5, 1]
    np.testing.assert_allclose(low_edge[:3], [lo for lo, _ in MODEL_BOX_MM])
    np.testing.assert_allclose(high_edge[:3], [hi for _, hi in MODEL_BOX_MM])


def test_known_voxel_sizes():
    np.testing.assert_allclose(voxel_size_mm((32, 64, 64)), [3.0, 3.0, 5.0])
    np.testing.assert_allclose(voxel_size_mm((64, 144, 144)), [4 / 3, 4 / 3, 2.5])


def test_axis_order_goes_both_ways():
    xyz = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    kij = to_kij(xyz)
    assert kij.shape == (4, 2, 3)
    assert kij[3, 1, 2] == xyz[1, 2, 3]
    np.testing.assert_array_equal(to_xyz(kij), xyz)


@pytest.mark.parametrize("shape", [(32, 64), (0, 64, 64), (32, -1, 64)])
def test_a_shape_that_is_no_grid_is_refused(shape):
    with pytest.raises(ValueError, match="three positive sizes"):
        grid_affine(shape)
