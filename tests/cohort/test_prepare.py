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
from mri2pet.imaging.brain.registration import working_volume
from mri2pet.imaging.space.model_space import mask_to_model_space, pet_to_model_space
from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.regions import region_mean

from .conftest import rigid

SHAPE = (32, 64, 64)
T1_FROM_PET = rigid((6.0, -4.0, 3.0), 0.1)


@pytest.fixture(scope="module")
def located():
    """Finding the brain is tested elsewhere: here the T1 is the template, moved by 5 mm.

    It has 3 mm, and noise: without, the PET follows it as closely as no PET follows a T1.
    """
    template_from_t1 = rigid((0.0, 5.0, 0.0))
    t1 = working_volume(template(2), 3.0)
    noise = np.random.default_rng(0).standard_normal(t1.shape, np.float32)
    fraction = working_volume(
        Volume(template_mask(2).data.astype(np.float32), template(2).affine), 3.0
    )
    mask = Volume(fraction.data > 0.5, fraction.affine)
    affine = np.linalg.inv(template_from_t1) @ t1.affine

    def preprocess(path, *, mri_shape, pet_shape):
        return SimpleNamespace(
            mri=np.ones(mri_shape, dtype=np.float32),
            t1=SimpleNamespace(volume=Volume(t1.data + 0.05 * noise, affine)),
            brain_mask=mask.data,
            record=SimpleNamespace(template_from_subject=template_from_t1),
            checks={"dice": 0.95},
            warnings=[],
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "preprocess", preprocess)
        yield SimpleNamespace(template_from_t1=template_from_t1, brain=mask)


@pytest.fixture(scope="module")
def uptake():
    """What the PETs show, SUVR on the template's grid."""
    tissues = 1.5 * template_wm(2).data + template_gm(2).data
    return Volume(gaussian_filter(tissues, 1.5), template(2).affine)


@pytest.fixture(scope="module")
def prepared(located, uptake, tmp_path_factory):
    """Prepares a PET of frames with these poses, T1 from PET."""

    def go(*poses):
        shape, grid = (51, 58, 45), np.diag([4.0, 4.0, 4.0, 1.0])
        grid[:3, 3] = -100, -130, -90
        frames = [
            7e3 * resample(uptake.data, uptake.affine, shape, grid, located.template_from_t1 @ pose)
            for pose in poses
        ]
        folder = tmp_path_factory.mktemp("subject")
        path = folder / "pet.nii.gz"
        data = frames[0] if len(frames) == 1 else np.stack(frames, axis=-1)
        nibabel.save(nibabel.Nifti1Image(data, grid), path)
        row = ManifestRow("sub-01", "", folder / "t1.nii.gz", pet=path)
        return prepare(row, SHAPE, SHAPE, "estimate")

    return go


@pytest.fixture(scope="module")
def still(prepared):
    """A head that lay still: one frame."""
    return prepared(T1_FROM_PET)


@pytest.mark.slow
def test_an_estimated_subject_is_aligned_and_in_suvr(located, still, uptake):
    assert still.pet is not None
    # The reference is measured at the PET's own resolution: 1 % beside the model grid's 5 mm.
    assert region_mean(still.pet, "cerebellum") == pytest.approx(1, abs=0.015)
    brain = mask_to_model_space(located.brain.data, located.brain.affine, np.eye(4), SHAPE)
    expected = pet_to_model_space(uptake, np.eye(4), brain, SHAPE)
    expected /= region_mean(expected, "cerebellum")
    assert np.abs(still.brain - brain).max() < 0.01
    assert np.abs(still.pet - expected)[brain > 0.5].mean() < 0.03
    assert still.details["checks"] == {"dice": 0.95}
    found = np.asarray(still.details["t1_from_pet"])
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 60)])
    assert np.linalg.norm((corners @ (found - T1_FROM_PET).T)[:, :3], axis=1).max() < 1.5


@pytest.mark.slow
def test_the_frames_of_a_dynamic_pet_are_aligned_first(still, prepared):
    """A head that turned between the frames gives nearly the PET of one that lay still."""
    moved = prepared(T1_FROM_PET, rigid((5.0, -3.0, 2.0), 0.08) @ T1_FROM_PET)
    assert np.abs(moved.pet - still.pet)[still.brain > 0.5].mean() < 0.03
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
