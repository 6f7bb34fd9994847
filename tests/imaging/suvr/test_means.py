"""Means over regions of another grid: the values of the grids do not matter, only the places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.means import field_of_view, label_means_mm, region_mean_mm

from ..pet_phantom import rigid

SLOPE = np.array([0.002, -0.003, 0.001])


def linear_pet(shape, affine) -> Volume:
    """Linear in space, so that linear interpolation repeats it."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    values = 1.5 + (index @ affine[:3, :3].T + affine[:3, 3]) @ SLOPE
    return Volume(values.astype(np.float32), affine)


@pytest.fixture(scope="module")
def labels() -> Volume:
    """Three boxes in a grid of 3 mm."""
    data = np.zeros((20, 24, 18), np.int16)
    data[2:8, 3:9, 4:10], data[10:15, 12:20, 5:9], data[3:6, 15:20, 11:16] = 1, 4, 2000
    return Volume(data, np.array([[3.0, 0, 0, -30], [0, 3, 0, -36], [0, 0, 3, -27], [0, 0, 0, 1]]))


def expected(labels: Volume) -> dict[int, float]:
    means = {}
    for index in (1, 4, 2000):
        centres = np.argwhere(labels.data == index) @ labels.affine[:3, :3].T
        means[index] = float((1.5 + (centres + labels.affine[:3, 3]) @ SLOPE).mean())
    return means


GRIDS = {
    "2 mm": ((60, 60, 60), np.diag([2.0, 2, 2, 1])),
    "anisotropic": ((30, 90, 28), np.diag([4.0, 1.2, 4.5, 1])),
    "oblique": ((60, 60, 60), rigid((12, -7, 20)) @ np.diag([2.0, 2, 2, 1])),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_the_grid_of_the_pet_does_not_matter(kind, labels):
    shape, affine = GRIDS[kind]
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    found = label_means_mm(linear_pet(shape, affine), labels)
    assert list(found) == [1, 4, 2000]
    for index, mean in expected(labels).items():
        assert found[index].mean == pytest.approx(mean, abs=1e-3)
        assert found[index].covered == 1


def test_the_48_axis_orders_of_pet_and_labels_are_one(labels):
    affine = np.diag([2.0, 3, 2.5, 1])
    affine[:3, 3] = [-58, -88, -72]
    pet = linear_pet((59, 60, 58), affine)
    wanted = expected(labels)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            ornt = np.array(list(zip(order, flips, strict=True)), dtype=float)

            def turned(v: Volume, ornt=ornt) -> Volume:
                return Volume(
                    apply_orientation(v.data, ornt), v.affine @ inv_ornt_aff(ornt, v.shape)
                )

            for a, b in ((turned(pet), labels), (pet, turned(labels))):
                found = label_means_mm(a, b)
                assert {i: found[i].mean for i in wanted} == pytest.approx(wanted, abs=1e-5)


def test_it_reads_through_the_transform(labels):
    matrix = rigid((5, 10, -15), (4, -6, 8))
    matrix[:3, :3] *= 1.05
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -70
    grid = linear_pet((71, 71, 71), matrix @ affine)  # values by template position
    found = label_means_mm(Volume(grid.data, affine), labels, matrix)
    assert {i: m.mean for i, m in found.items()} == pytest.approx(expected(labels), abs=1e-3)


def test_a_label_is_what_its_voi_is(labels):
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [-20, -60, -60]
    pet = linear_pet((61, 61, 61), affine)
    found = label_means_mm(pet, labels)
    for index in (1, 4, 2000):
        region = Volume((labels.data == index).astype(np.float32), labels.affine)
        assert region_mean_mm(pet, region) == pytest.approx(
            (found[index].mean, found[index].covered)
        )
    assert found[1].covered < 0.9


def test_the_plane_at_the_edge_is_inside_in_spite_of_rounding():
    turn = rigid((3, 11, 7))
    pet = Volume(np.ones((9, 9, 9), np.float32), turn @ np.diag([2.0, 2, 2, 1]))
    whole = Volume(np.ones((9, 9, 9), np.float32), pet.affine)
    assert region_mean_mm(pet, whole, np.eye(4)) == pytest.approx((1, 1))
    assert region_mean_mm(pet, whole, turn @ np.linalg.inv(turn)) == pytest.approx((1, 1))


def test_zeros_that_reach_the_edge_are_not_seen():
    data = np.ones((10, 10, 10), np.float32)
    data[:4] = 0
    data[7, 7, 7] = 0
    pet = Volume(data, np.eye(4))
    seen = field_of_view(pet)
    assert not seen[:4].any()
    assert seen[4:].all()
    region = Volume(np.ones((10, 10, 10), np.float32), np.eye(4))
    mean, covered = region_mean_mm(pet, region, None, seen)
    assert mean == pytest.approx(599 / 600)
    assert covered == pytest.approx(0.6)
    shifted = np.eye(4)
    shifted[0, 3] = 0.3  # between a voxel that was seen and one that was not
    assert region_mean_mm(pet, region, shifted, seen)[0] == pytest.approx(599 / 600, abs=2e-3)
