"""A real subject's way to model space: transforms are estimated, SUVR is measured."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.prepare import prepare
from mri2pet.imaging import pipeline
from mri2pet.imaging.space.model_space import mask_to_model_space, pet_to_model_space
from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.regions import region_mean

from .conftest import rigid

SHAPE = (32, 64, 64)


@pytest.fixture
def located(monkeypatch):
    """Finding the brain is tested elsewhere: here the T1 is the template, moved by 5 mm."""
    template_from_t1 = rigid((0.0, 5.0, 0.0))
    t1, mask = template(2), template_mask(2)
    affine = np.linalg.inv(template_from_t1) @ t1.affine

    def preprocess(path, *, mri_shape, pet_shape):
        return SimpleNamespace(
            mri=np.ones(mri_shape, dtype=np.float32),
            t1=SimpleNamespace(volume=Volume(t1.data, affine)),
            brain_mask=mask.data,
            record=SimpleNamespace(template_from_subject=template_from_t1),
            checks={"dice": 0.95},
            warnings=[],
        )

    monkeypatch.setattr(pipeline, "preprocess", preprocess)
    return template_from_t1


def test_an_estimated_subject_is_aligned_and_in_suvr(located, tmp_path):
    uptake = Volume(
        gaussian_filter(1.5 * template_wm(2).data + template_gm(2).data, 1.5), template(2).affine
    )
    t1_from_pet = rigid((6.0, -4.0, 3.0), 0.1)
    shape, grid = (64, 72, 56), np.diag([3.2, 3.2, 3.2, 1.0])
    grid[:3, 3] = -100, -130, -90
    moved = resample(uptake.data, uptake.affine, shape, grid, located @ t1_from_pet)
    path = tmp_path / "pet.nii.gz"
    nibabel.save(nibabel.Nifti1Image(7e3 * moved, grid), path)
    row = ManifestRow("sub-01", "", tmp_path / "t1.nii.gz", pet=path)

    subject = prepare(row, SHAPE, SHAPE, "estimate")

    assert subject.pet is not None
    # The reference is measured at the PET's own resolution: 1 % beside the model grid's 5 mm.
    assert region_mean(subject.pet, "cerebellum") == pytest.approx(1, abs=0.015)
    mask = template_mask(2)
    brain = mask_to_model_space(mask.data, mask.affine, np.eye(4), SHAPE)
    expected = pet_to_model_space(uptake, np.eye(4), brain, SHAPE)
    expected /= region_mean(expected, "cerebellum")
    assert np.abs(subject.brain - brain).max() < 0.01
    assert np.abs(subject.pet - expected)[brain > 0.5].mean() < 0.03
    assert subject.details["checks"] == {"dice": 0.95}
    found = np.asarray(subject.details["t1_from_pet"])
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 60)])
    assert np.linalg.norm((corners @ (found - t1_from_pet).T)[:, :3], axis=1).max() < 1.5


def test_the_frames_of_a_dynamic_pet_are_aligned_first(located, tmp_path):
    """A head that turned between the frames gives nearly the PET of one that lay still."""
    uptake = Volume(
        gaussian_filter(1.5 * template_wm(2).data + template_gm(2).data, 1.5), template(2).affine
    )
    shape, grid = (64, 72, 56), np.diag([3.2, 3.2, 3.2, 1.0])
    grid[:3, 3] = -100, -130, -90
    motion = rigid((5.0, -3.0, 2.0), 0.08)

    def prepared(name, second):
        frames = [
            resample(uptake.data, uptake.affine, shape, grid, located @ pose)
            for pose in (np.eye(4), second)
        ]
        path = tmp_path / name
        nibabel.save(nibabel.Nifti1Image(7e3 * np.stack(frames, axis=-1), grid), path)
        row = ManifestRow("sub-01", "", tmp_path / "t1.nii.gz", pet=path)
        return prepare(row, SHAPE, SHAPE, "estimate")

    still, moved = prepared("still.nii.gz", np.eye(4)), prepared("moved.nii.gz", motion)
    brain = still.brain > 0.5
    assert np.abs(moved.pet - still.pet)[brain].mean() < 0.03
    found = [frame["displacement_mm"] for frame in moved.details["pet_motion"]]
    assert found[0] == pytest.approx(0, abs=0.1)
    assert found[1] > 4
    assert moved.details["pet_reference"] == "whole cerebellum, built in"


def test_an_mri_alone_is_prepared(located, tmp_path):
    subject = prepare(ManifestRow("sub-01", "", tmp_path / "t1.nii.gz"), SHAPE, SHAPE, "estimate")
    assert subject.pet is None
    assert subject.mri.shape == SHAPE


def test_an_unknown_registration_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="guess"):
        prepare(ManifestRow("sub-01", "", tmp_path / "t1.nii.gz"), SHAPE, SHAPE, "guess")
