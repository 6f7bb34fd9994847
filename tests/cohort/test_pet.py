"""A measured PET becomes one volume."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mri2pet.cohort.pet import static_pet
from mri2pet.errors import InputError


def save(path, data):
    nibabel.save(nibabel.Nifti1Image(np.asarray(data, dtype=np.float32), np.eye(4)), path)
    return path


def test_frames_are_averaged(tmp_path):
    values = np.arange(120).reshape(4, 5, 6)
    frames = values[..., None] * np.array([1, 2, 6])
    pet = static_pet(save(tmp_path / "pet.nii.gz", frames))
    np.testing.assert_allclose(pet.data, 3 * values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((4, 5, 6)), "no PET signal"),
        (np.full((4, 5, 6), np.nan), "not finite"),
        (np.full((4, 5, 6), 700), "all its voxels are 700"),
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
    with pytest.raises(InputError, match="truncated"):
        static_pet(path)
