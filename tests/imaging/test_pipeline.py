"""A whole head to model space: the pose, the mask, the checks and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.brain import registration, starts
from mri2pet.imaging.brain.choice import MAX_BRIGHT_RIM
from mri2pet.imaging.pipeline import preprocess, read_t1
from mri2pet.imaging.space import itk
from mri2pet.imaging.space.grid import grid_affine, to_kij
from mri2pet.imaging.space.itk import process
from mri2pet.imaging.space.model_space import to_model_space
from mri2pet.imaging.space.template import template, template_mask

MRI_SHAPE = (32, 72, 72)
PET_SHAPE = (32, 64, 64)
SHAPES = {"mri_shape": MRI_SHAPE, "pet_shape": PET_SHAPE}


def brain_points():
    inside = np.argwhere(template_mask(2).data)[::199]
    return template_mask(2).affine @ np.c_[inside, np.ones(len(inside))].T


def displacement_mm(found, truth):
    points = brain_points()
    apart = np.linalg.inv(found) @ points - np.linalg.inv(truth) @ points
    return np.linalg.norm(apart[:3], axis=0)


@pytest.mark.slow
def test_the_pose_is_found(prepared, head):
    error = displacement_mm(prepared[0].record.template_from_subject, head.template_from_subject)
    assert error.mean() < 1.0
    assert error.max() < 2.5


@pytest.mark.slow
def test_the_mask_is_the_brain_on_the_stored_grid(prepared, head):
    mask = prepared[0].brain_mask
    assert mask.dtype == bool
    assert mask.shape == head.image.shape
    overlap = 2 * (mask & head.brain_mask).sum() / (mask.sum() + head.brain_mask.sum())
    assert overlap > 0.96


@pytest.mark.slow
def test_the_mri_is_the_template_brain_in_model_space(prepared):
    mri = prepared[0].mri
    assert mri.shape == MRI_SHAPE
    assert mri.dtype == np.float32
    assert mri.min() == 0
    assert mri.max() == 1
    expected = to_model_space(template(1), np.eye(4), template_mask(1).data, MRI_SHAPE)
    assert np.corrcoef(mri.ravel(), expected.ravel())[0, 1] > 0.97


@pytest.mark.slow
def test_the_figures_describe_a_good_registration(prepared, head):
    figures = prepared[0].checks
    voxel_ml = abs(np.linalg.det(head.image.affine[:3, :3])) / 1000
    assert figures["mask_volume_ml"] == pytest.approx(prepared[0].brain_mask.sum() * voxel_ml, 1e-3)
    assert figures["dice_with_template"] > 0.95
    assert figures["correlation_with_template"] > 0.9
    assert figures["covered_fraction"] == 1.0
    assert figures["white_to_grey"] > 1.15
    assert figures["extractor_used"] == "template"
    assert figures["bright_rim"] < MAX_BRIGHT_RIM
    assert prepared[0].warnings == []


@pytest.mark.slow
def test_every_stage_is_announced_and_timed(prepared):
    result, announced = prepared
    names = [name for name, seconds in announced if seconds is None]
    assert names[0] == "read"
    assert names == [name for name, seconds in announced if seconds is not None]
    assert list(result.checks["seconds"]) == names
    assert {"registration", "brain extraction", "bias field", "resampling"} <= set(names)


@pytest.mark.slow
@pytest.mark.usefixtures("prepared")
def test_ants_leaves_no_files_behind(scratch_folder):
    itk.start()
    kept = Path(process._running.scratch)
    assert list(kept.iterdir()) == []
    itk.stop()
    assert not kept.exists()
    assert list(scratch_folder.iterdir()) == []


@pytest.mark.slow
def test_a_mark_in_the_model_lands_at_its_place_in_the_subject(prepared):
    record = prepared[0].record
    where = np.array([34.0, -52.0, 21.0])
    affine = grid_affine(PET_SHAPE)
    index = np.indices((PET_SHAPE[1], PET_SHAPE[2], PET_SHAPE[0])).reshape(3, -1)
    mm = affine[:3, :3] @ index + affine[:3, 3:]
    mark = np.exp(-((mm - where[:, None]) ** 2).sum(axis=0) / (2 * 9.0**2))
    kij = to_kij(mark.reshape(PET_SHAPE[1], PET_SHAPE[2], PET_SHAPE[0])).astype(np.float32)
    there = record.to_subject(kij)
    weight = there.ravel() / there.sum()
    voxels = np.indices(there.shape).reshape(3, -1)
    centre = record.grid.affine @ [*(voxels @ weight), 1.0]
    expected = np.linalg.inv(record.template_from_subject) @ [*where, 1.0]
    np.testing.assert_allclose(centre[:3], expected[:3], atol=0.25)


#: In a process of its own, as two commands are; every step of the work, few iterations of each.
TWICE = """
import sys
import numpy as np
from mri2pet.imaging import pipeline
from mri2pet.imaging.brain import registration, starts
from mri2pet.imaging.pipeline import preprocess
from mri2pet.imaging.space.itk import Schedule

registration.STARTS = 1
registration.FINE = Schedule((200, 100), (4, 2), (2, 1))
starts.YAW_DEG = starts.ROLL_DEG = (0.0,)
pipeline._BRAIN_N4 = (10, 10, 10)
for name in ("given", "reordered"):
    result = preprocess(
        f"{name}.nii", brain_mask=f"{name}_mask.nii", mri_shape=%r, pet_shape=%r
    )
    np.savez(
        f"{name}.npz",
        mri=result.mri,
        mask=result.brain_mask,
        affine=result.record.template_from_subject,
        sha256=result.t1.sha256,
    )
"""


@pytest.mark.slow
def test_another_axis_order_and_a_mask_give_the_same_brain(head, tmp_path):
    mask = nibabel.Nifti1Image(head.brain_mask.astype(np.uint8), head.image.affine)
    for kind, image in {"": head.image, "_mask": mask}.items():
        nibabel.save(image, tmp_path / f"given{kind}.nii")
        nibabel.save(nibabel.as_closest_canonical(image), tmp_path / f"reordered{kind}.nii")
    default = {k: v for k, v in os.environ.items() if not k.startswith("ITK_")}
    subprocess.run(
        [sys.executable, "-c", TWICE % (MRI_SHAPE, PET_SHAPE)],
        cwd=tmp_path,
        env=default,
        check=True,
    )
    first, second = (np.load(tmp_path / f"{name}.npz") for name in ("given", "reordered"))
    assert first["sha256"] == second["sha256"]
    np.testing.assert_array_equal(first["affine"], second["affine"])
    np.testing.assert_array_equal(first["mri"], second["mri"])
    assert displacement_mm(first["affine"], head.template_from_subject).max() < 2.5
    np.testing.assert_array_equal(first["mask"], head.brain_mask)


@pytest.mark.slow
def test_a_t2_like_brain_is_refused(head, monkeypatch):
    monkeypatch.setattr(registration, "STARTS", 1)
    monkeypatch.setattr(starts, "YAW_DEG", (0.0,))
    monkeypatch.setattr(starts, "ROLL_DEG", (0.0,))
    data = head.image.get_fdata(dtype=np.float32)
    brain = np.where(head.brain_mask, np.maximum(520 - data, 10), 0)
    inverted = nibabel.Nifti1Image(brain.astype(np.float32), head.image.affine)
    with pytest.raises(InputError, match=r"failed \(correlation|not T1-weighted"):
        preprocess(inverted, skull_stripped=True, **SHAPES)


def test_a_whole_head_is_not_taken_for_stripped(head):
    rng = np.random.default_rng(0)
    noisy = head.image.get_fdata(dtype=np.float32) + 40 * rng.random(head.image.shape)
    image = nibabel.Nifti1Image(noisy.astype(np.float32), head.image.affine)
    with pytest.raises(InputError, match="is not skull-stripped"):
        preprocess(image, skull_stripped=True, **SHAPES)


def test_a_mask_of_another_grid_is_refused(head, tmp_path):
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), path)
    with pytest.raises(InputError, match=r"mask\.nii\.gz: is not on the grid"):
        preprocess(head.image, brain_mask=path, **SHAPES)


def test_a_shifted_mask_is_refused(head):
    affine = head.image.affine.copy()
    affine[0, 3] += 3
    with pytest.raises(InputError, match="is not on the grid"):
        preprocess(
            head.image,
            brain_mask=nibabel.Nifti1Image(head.brain_mask.astype(np.uint8), affine),
            **SHAPES,
        )


def test_an_empty_mask_is_refused(head):
    with pytest.raises(InputError, match="holds no voxel above"):
        preprocess(head.image, brain_mask=np.zeros(head.image.shape, bool), **SHAPES)


def test_contradictory_options_are_misuse(head):
    with pytest.raises(UsageError, match="not both"):
        preprocess(head.image, brain_mask=head.brain_mask, skull_stripped=True, **SHAPES)
    with pytest.raises(UsageError, match="none of auto, template, deepbet, hd-bet"):
        preprocess(head.image, extractor="bet", **SHAPES)


def test_hd_bet_is_asked_for_by_name_and_must_be_installed(head, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package HD-BET"):
        preprocess(head.image, extractor="hd-bet", **SHAPES)


def test_a_failure_inside_ants_becomes_one_sentence(head, monkeypatch):
    def fail(*args):
        raise RuntimeError("Registration failed with error code 1")

    monkeypatch.setattr("mri2pet.imaging.pipeline.locate_brain", fail)
    with pytest.raises(InputError, match="registration to the template failed"):
        preprocess(read_t1(head.image), **SHAPES)
