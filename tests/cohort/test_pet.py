"""A measured PET becomes one volume and finds its MRI."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.cohort.pet import register_to_t1, static_pet
from mri2pet.errors import InputError
from mri2pet.imaging.resampling import resample
from mri2pet.imaging.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.volume import Volume

from .conftest import rigid


def save(path, data):
    nibabel.save(nibabel.Nifti1Image(np.asarray(data, dtype=np.float32), np.eye(4)), path)
    return path


def test_frames_are_averaged(tmp_path):
    frames = np.ones((4, 5, 6, 3)) * [1, 2, 6]
    pet = static_pet(save(tmp_path / "pet.nii.gz", frames))
    assert pet.shape == (4, 5, 6)
    np.testing.assert_allclose(pet.data, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((4, 5, 6)), "no PET signal"),
        (np.full((4, 5, 6), np.nan), "not finite"),
        (np.ones((4, 5)), "2 axes"),
    ],
)
def test_pets_without_signal_are_refused(tmp_path, data, reason):
    with pytest.raises(InputError, match=reason):
        static_pet(save(tmp_path / "pet.nii", data))


def test_files_that_are_missing_or_cut_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        static_pet(tmp_path / "absent.nii")
    path = save(tmp_path / "pet.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read"):
        static_pet(path)


def test_the_offset_of_a_pet_is_found():
    t1, mask = template(2), template_mask(2)
    uptake = 1.5 * template_wm(2).data + 1.0 * template_gm(2).data
    truth = rigid((7.0, -5.0, 4.0), 0.12)
    shape, grid = (64, 72, 56), np.diag([3.2, 3.2, 3.2, 1.0])
    grid[:3, 3] = -100, -130, -90
    moved = resample(gaussian_filter(uptake, 1.5), t1.affine, shape, grid, truth)
    found = register_to_t1(Volume(1e4 * moved, grid), t1, mask.data)
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 60)])
    error = np.linalg.norm((corners @ (found - truth).T)[:, :3], axis=1)
    assert error.max() < 1.5
