"""Images and masks on the model grids: positions, scaling, masks."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.space.grid import grid_affine
from mri2pet.imaging.space.model_space import (
    dilate_soft,
    mask_to_model_space,
    pet_to_model_space,
    rescale,
    to_model_space,
)
from mri2pet.imaging.space.volume import Volume

MRI_SHAPE = (32, 72, 72)
PET_SHAPE = (32, 64, 64)


def blob(centre_mm, sigma_mm=8.0, template_from_subject=None, voxel_mm=2.0):
    """A Gaussian of height 100 at a template position, on a 180 x 200 x 180 mm grid."""
    shape = tuple(int(n / voxel_mm) for n in (180, 200, 180))
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = [-90, -115, -80]
    index = np.indices(shape).reshape(3, -1)
    to_template = np.eye(4) if template_from_subject is None else template_from_subject
    mm = (to_template @ affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    squared = ((mm - np.array(centre_mm)[:, None]) ** 2).sum(axis=0)
    data = 100 * np.exp(-squared / (2 * sigma_mm**2))
    return Volume(data.reshape(shape).astype(np.float32), affine)


def centre_of_mass_mm(kij):
    affine = grid_affine(kij.shape)
    k, i, j = np.indices(kij.shape).reshape(3, -1)
    weight = kij.reshape(-1) / kij.sum()
    return (affine @ np.stack([i, j, k, np.ones_like(i)]))[:3] @ weight


def turned(degrees=20.0, shift=(6.0, -9.0, 4.0), scale=1.1):
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize("interpolation", ["cubic", "sinc"])
def test_a_point_lands_where_the_transform_says(interpolation):
    where = (31.0, -42.0, 17.0)
    transform = turned()
    t1 = blob(where, template_from_subject=transform)
    mri = to_model_space(t1, transform, t1.data > 0.01, MRI_SHAPE, interpolation)
    assert mri.shape == MRI_SHAPE
    assert mri.dtype == np.float32
    np.testing.assert_allclose(centre_of_mass_mm(mri), where, atol=0.35)


def test_the_two_interpolations_agree():
    t1 = blob((0, 0, 0), sigma_mm=5.0, voxel_mm=1.0)
    brain = t1.data > 1
    sharp = to_model_space(t1, turned(), brain, MRI_SHAPE, "sinc")
    cubic = to_model_space(t1, turned(), brain, MRI_SHAPE, "cubic")
    assert np.abs(sharp - cubic).max() < 0.01


def test_values_are_scaled_to_one_and_zero_outside_the_mask():
    t1 = blob((0, 0, 0), sigma_mm=40.0)
    brain = np.zeros(t1.shape, bool)
    brain[30:60, 40:70, 30:60] = True
    mri = to_model_space(t1, np.eye(4), brain, MRI_SHAPE)
    assert mri.max() == 1.0
    assert mri.min() == 0.0
    outside = mask_to_model_space(brain, t1.affine, np.eye(4), MRI_SHAPE) == 0
    assert outside.any()
    assert not mri[outside].any()
    brighter = Volume(t1.data * 7, t1.affine)
    np.testing.assert_allclose(
        to_model_space(brighter, np.eye(4), brain, MRI_SHAPE), mri, atol=1e-5
    )


def test_a_mask_without_signal_is_refused():
    empty = Volume(np.zeros((40, 40, 40), np.float32), np.diag([4.0, 4, 4, 1]))
    with pytest.raises(ValueError, match="no signal"):
        to_model_space(empty, np.eye(4), np.ones(empty.shape, bool), MRI_SHAPE)


def test_mask_fraction_keeps_the_volume():
    t1 = blob((0, 0, 0), sigma_mm=20.0)
    brain = t1.data > 30
    fraction = mask_to_model_space(brain, t1.affine, turned(), PET_SHAPE)
    volume_ml = fraction.sum() * abs(np.linalg.det(grid_affine(PET_SHAPE)[:3, :3])) / 1000
    assert volume_ml == pytest.approx(brain.sum() * t1.voxel_volume_ml * 1.1**3, rel=0.01)
    assert 0 <= fraction.min() <= fraction.max() <= 1


def test_pet_keeps_its_suvr_inside_and_is_zero_away_from_the_brain():
    pet = Volume(np.full((90, 100, 90), 1.4, np.float32), blob((0, 0, 0)).affine, "SUVR")
    mask = np.zeros(PET_SHAPE, np.float32)
    mask[10:20, 20:40, 20:40] = 1
    out = pet_to_model_space(pet, np.eye(4), mask, PET_SHAPE)
    np.testing.assert_allclose(out[mask > 0], 1.4, rtol=1e-4)
    assert out[9, 30, 30] == pytest.approx(1.4, rel=1e-4)
    assert out[8, 30, 30] == 0
    assert out[:, 18].max() == 0


def test_rescale_keeps_positions_and_levels():
    mask = mask_to_model_space(
        np.ones((40, 40, 40), bool), np.diag([2.0, 2, 2, 1]), np.eye(4), MRI_SHAPE
    )
    coarse = rescale(mask, PET_SHAPE)
    np.testing.assert_allclose(centre_of_mass_mm(coarse), centre_of_mass_mm(mask), atol=0.1)
    np.testing.assert_allclose(rescale(np.ones(MRI_SHAPE), PET_SHAPE), 1.0, atol=1e-6)


def test_soft_dilation_grows_by_one_voxel_along_axes():
    mask = np.zeros((5, 5, 5), np.float32)
    mask[2, 2, 2] = 0.5
    grown = dilate_soft(mask)
    assert np.count_nonzero(grown) == 7
    assert grown[1, 2, 2] == 0.5
