"""Numbers that are none, outliers, scale and offset are put right and told."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.files.kinds import PET, T1, VOI
from mri2pet.imaging.files.mending import mend
from mri2pet.imaging.files.reading import read_image, read_t1

SHAPE = (60, 64, 56)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def head():
    """A ball of tissue with noise in an empty background."""
    grid = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    tissue = np.random.default_rng(0).uniform(50, 250, SHAPE)
    return np.where((grid**2).sum(axis=0) < 22**2, tissue, 0.0).astype(np.float32)


def t1(data):
    return read_t1(nibabel.Nifti1Image(data, AFFINE))


@pytest.mark.parametrize("worst", [3000.0, 1e8, 1e30, -1e8])
@pytest.mark.parametrize("place", [(30, 32, 28), (0, 0, 0)])
def test_outliers_are_cut_whatever_their_size_and_place(head, worst, place):
    spoiled = head.copy()
    spoiled[place] = worst
    found = t1(spoiled)
    kept = np.ones(SHAPE, bool)
    kept[place] = False
    np.testing.assert_array_equal(found.volume.data[kept], head[kept])
    assert abs(found.volume.data[place]) <= 250
    assert found.warnings == [w for w in found.warnings if w.startswith("1 outlier voxels (up to")]
    assert len(found.warnings) == 1


def test_usual_values_are_left_alone(head):
    found = t1(head)
    np.testing.assert_array_equal(found.volume.data, head)
    assert found.warnings == []


@pytest.mark.parametrize("factor", [1e36, 1e200, 1e-12, 1e-40])
def test_extreme_scales_come_to_usual_values(head, factor):
    found = t1(head.astype(np.float64) * factor)
    top = float(found.volume.data.max())
    assert 1 <= top < 10
    np.testing.assert_allclose(found.volume.data / top, head / head.max(), atol=1e-5)
    assert len(found.warnings) == 1
    assert "all were divided by 1e" in found.warnings[0]


@pytest.mark.parametrize(("slope", "offset"), [(1.0, -40.0), (12.5, -499.0), (3.0, 500.0)])
def test_a_constant_background_is_taken_off(head, slope, offset):
    found = t1(slope * head + np.float32(offset))
    np.testing.assert_allclose(found.volume.data, slope * head, atol=1e-3)
    assert found.warnings == [
        f"Its background lies at {offset:.4g}; this was taken off every voxel."
    ]


def test_noise_about_a_level_above_0_is_no_offset(head):
    noisy = np.hypot(head + 30, np.random.default_rng(1).normal(0, 20, SHAPE)).astype(np.float32)
    found = t1(noisy)
    np.testing.assert_array_equal(found.volume.data, noisy)
    assert found.warnings == []


def test_negative_tissue_is_told(head):
    turned = head.copy()
    turned[20:30] *= -1
    assert "are below 0 and count as 0" in t1(turned).warnings[0]


def pet(data):
    return read_image(nibabel.Nifti1Image(data.astype(np.float32), AFFINE), PET)


def test_nan_at_the_edge_of_a_pet_is_background(head):
    data = np.stack([head, 2 * head], axis=-1)
    data[data == 0] = np.nan
    data[30, 32, 28] = np.nan
    found = pet(data)
    assert np.isfinite(found.frames).all()
    outside = head == 0
    assert (found.frames[:, outside] == 0).all()
    around = head[29:32, 31:34, 27:30].sum() - head[30, 32, 28]
    assert found.frames[0, 30, 32, 28] == pytest.approx(around / 26, rel=1e-5)
    assert found.frames[1, 30, 32, 28] == pytest.approx(around / 13, rel=1e-5)
    assert ["at the edge, were NaN" in w for w in found.warnings] == [True, False]


def test_nan_inside_a_pet_and_infinity_outside_are_no_background(head):
    inside = head.copy()
    inside[20:40, 22:42, 18:38] = np.nan
    with pytest.raises(InputError, match="are NaN or infinite"):
        pet(inside)
    outside = head.copy()
    outside[outside == 0] = np.inf
    with pytest.raises(InputError, match="are NaN or infinite"):
        pet(outside)


def test_a_t1_may_hold_no_nan_at_the_edge(head):
    data = head.copy()
    data[:10] = np.nan
    with pytest.raises(InputError, match=r"16.7 % of its voxels are NaN"):
        read_image(nibabel.Nifti1Image(data, AFFINE), T1)


def test_what_is_mended_is_a_copy(head):
    data = head[None].copy()
    data[0, 3, 3, 3] = np.nan
    before = data.copy()
    mend("t1", data, T1)
    np.testing.assert_array_equal(data, before)


def test_the_traces_of_an_interpolation_do_not_make_a_region(head):
    """Its few ones are no outliers among thousands of voxels that are nearly 0."""
    region = np.random.default_rng(0).uniform(0, 1e-7, SHAPE).astype(np.float32)
    region[30:33, 30:33, 30:33] = 1.0
    found = read_image(nibabel.Nifti1Image(region, AFFINE), VOI)
    np.testing.assert_array_equal(found.frames[0], region)
    assert found.warnings == []
