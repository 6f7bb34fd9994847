"""Resampling between grids."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.build import native_module
from mri2pet.imaging.space.grid import grid_affine
from mri2pet.imaging.space.resampling import (
    INTERPOLATIONS,
    bounding_box,
    crop_affine,
    resample,
    to_pet_size,
)


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


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_cores_and_slabs_change_nothing(interpolation, monkeypatch):
    from scipy.ndimage import affine_transform

    data = np.random.default_rng(0).random((30, 31, 29)).astype(np.float32)
    turn = np.diag([0.39, 0.41, 0.4, 1.0])
    turn[:3] += np.random.default_rng(1).normal(0, 0.01, (3, 4))  # no voxel on an edge or a tie
    shape = (75, 70, 71)  # above the size that is shared between threads, and no whole slabs
    order = {"nearest": 0, "linear": 1, "cubic": 3}[interpolation]
    whole = affine_transform(data, turn[:3, :3], turn[:3, 3], shape, np.float32, order)
    results = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(resample(data, np.eye(4), shape, turn, interpolation=interpolation))
        np.testing.assert_array_equal(results[0], results[-1])
    np.testing.assert_allclose(results[0], whole, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 7, 8), (1, 5, 6), (2, 2, 2), (3, 4, 1)])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_every_layout_is_read_as_scipy_reads_it(shape, order):
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(2)
    data = rng.random(shape).astype(np.float32)
    target = (2 * shape[0] + 1, 2 * shape[1] + 3, 2 * shape[2] + 2)
    turn = np.eye(4)
    turn[:3, :3] = np.diag(np.array(shape) / np.array(target)) + rng.normal(0, 0.02, (3, 3))
    turn[:3, 3] = rng.normal(0, 0.3, 3)
    turn[:3][np.array(shape) == 1] = 0.0  # an axis of one voxel is met by nothing beside it
    expected = affine_transform(data, turn[:3, :3], turn[:3, 3], target, np.float32, order)
    assert expected.any()
    name = ("nearest", "linear", "", "cubic")[order]
    wide = np.zeros((shape[0], 2 * shape[1], shape[2] + 1), np.float32)
    wide[:, ::2, 1:] = data
    backwards = np.ascontiguousarray(data[::-1, :, ::-1])[::-1, :, ::-1]
    for same in (data, np.asfortranarray(data), wide[:, ::2, 1:], backwards):
        out = resample(same, np.eye(4), target, turn, interpolation=name)
        np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_place_on_the_outermost_voxel_is_inside_however_it_was_rounded():
    data = np.full((4, 5, 6), 7.0, np.float32)
    shift = np.eye(4)
    shift[:3, 3] = -1e-13
    for name in ("linear", "cubic"):
        out = resample(data, np.eye(4), data.shape, shift, interpolation=name)
        np.testing.assert_allclose(out, 7.0, rtol=1e-6)


def test_a_mask_is_read_where_the_target_lies():
    mask = np.zeros((40, 41, 42), bool)
    mask[10:20, 12:30, 5:15] = True
    place = np.eye(4)
    place[:3, 3] = [8.0, 10.0, 3.0]
    out = resample(mask, np.eye(4), (10, 9, 8), place)
    np.testing.assert_array_equal(out, mask[8:18, 10:19, 3:11])
    place[:3, 3] = [100.0, 0.0, 0.0]
    assert not resample(mask, np.eye(4), (10, 9, 8), place).any()


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_of_no_voxels_nothing_is_read(interpolation):
    empty = np.zeros((0, 3, 4), np.float32)
    assert not resample(empty, np.eye(4), (2, 2, 2), np.eye(4), interpolation=interpolation).any()


def test_what_is_needed_is_of_the_target():
    with pytest.raises(ValueError, match=r"shape \(2, 2, 3\), the target \(2, 2, 2\)"):
        resample(
            np.ones((2, 2, 2)), np.eye(4), (2, 2, 2), np.eye(4), needed=np.ones((2, 2, 3), bool)
        )


def test_an_affine_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        resample(np.ones((2, 2, 2)), np.eye(4), (2, 2, 2), np.diag([1, np.nan, 1, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 2}, "order must be 0, 1 or 3"),
        ({"target": (2, 0, 2)}, "every size must be at least 1"),
        ({"first": -1}, "first"),
        ({"values": 0}, "missing tensor"),
        ({"index_map": [float("inf")] * 12}, "index_map"),
    ],
)
def test_the_native_loop_refuses_what_it_cannot_read(change, message):
    module, values = native_module(), np.ones((2, 2, 2), np.float32)
    out = np.zeros((2, 2, 2), np.float32)
    arguments = {
        "source": (2, 2, 2), "strides": (4, 2, 1), "target": (2, 2, 2), "first": 0, "order": 1,
        "index_map": [0.0] * 12, "values": values.ctypes.data, "needed": 0,
        "out": out.ctypes.data,
    }  # fmt: skip
    module.resample(module.Resample(**arguments), False)
    assert out.all()
    with pytest.raises(ValueError, match=message):
        module.resample(module.Resample(**(arguments | change)), False)


def test_only_what_is_needed_need_be_read():
    data = np.random.default_rng(0).random((30, 31, 29)).astype(np.float32)
    grid = np.diag([0.5, 0.5, 0.5, 1.0])
    needed = np.zeros((60, 62, 58), bool)
    needed[13:40, 20:33, 5:50] = True
    part = resample(data, np.eye(4), needed.shape, grid, interpolation="cubic", needed=needed)
    whole = resample(data, np.eye(4), needed.shape, grid, interpolation="cubic")
    np.testing.assert_allclose(part[needed], whole[needed], atol=1e-6)
    assert not part[:8].any()


def test_outside_is_zero():
    out = resample(np.ones((4, 4, 4)), np.eye(4), (4, 4, 4), np.eye(4) + np.eye(4, k=3) * 100)
    assert not out.any()


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="none of nearest, linear, cubic, sinc"):
        resample(np.ones((2, 2, 2)), np.eye(4), (2, 2, 2), np.eye(4), interpolation="lanczos")


def test_the_mri_keeps_its_place_at_pet_size():
    """A smooth blob moves to the PET grid as the two grids' affines say."""
    mri_shape, pet_shape = (32, 72, 72), (16, 64, 64)
    index = np.stack(np.meshgrid(*map(np.arange, mri_shape), indexing="ij"), -1)
    mm = index[..., [1, 2, 0]] @ grid_affine(mri_shape)[:3, :3].T + grid_affine(mri_shape)[:3, 3]
    blob = np.exp(-((mm - (20.0, -40.0, 10.0)) ** 2).sum(-1) / (2 * 18.0**2)).astype(np.float32)
    expected = resample(
        blob.transpose(1, 2, 0),
        grid_affine(mri_shape),
        (64, 64, 16),
        grid_affine(pet_shape),
        interpolation="cubic",
    ).transpose(2, 0, 1)
    np.testing.assert_allclose(to_pet_size(blob, pet_shape), expected, atol=0.01)


def test_an_mri_at_pet_size_is_clipped():
    step = np.zeros((8, 12, 12), np.float32)
    step[:, 6:] = 1.0
    moved = to_pet_size(step, (8, 17, 17))
    assert moved.min() == 0.0
    assert moved.max() == 1.0
    np.testing.assert_allclose(to_pet_size(step, step.shape), step, atol=1e-6)


def test_bounding_box_and_its_affine():
    mask = np.zeros((10, 11, 12), bool)
    mask[3:5, 4, 6:9] = True
    box = bounding_box(mask)
    assert box == (slice(3, 5), slice(4, 5), slice(6, 9))
    assert bounding_box(mask, margin=4)[0] == slice(0, 9)
    assert bounding_box(np.zeros((2, 3, 4), bool)) == (slice(0, 2), slice(0, 3), slice(0, 4))
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(crop_affine(affine, box)[:3, 3], [6, 12, 24])
