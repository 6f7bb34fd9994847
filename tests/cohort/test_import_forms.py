"""ECAT files, and DICOM series of which dcm2niix makes several images."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from mri2pet.cohort.manifest import build_manifest

from .loni import SECRETS, SPACING, phantom
from .test_import_adni import contents, rows
from .test_import_rules import PET, imported, line, reasons

pytest.importorskip("dcm2niix", reason="needs the extra dicom")
DYNAMIC = "AV45 Co-registered Dynamic"
DAY = "2012-03-05"


def table(out):
    return {row["image_id"]: row for row in rows(out / "sourcedata" / "import.tsv")}


def test_an_ecat_pet_is_read_with_its_frames_and_their_times(tmp_path):
    pet = line(102, DYNAMIC, DAY, form="ecat", frames="3", frame_seconds="600")
    code, out = imported(tmp_path, [line(101, "MPRAGE", DAY), pet])
    assert code == 0
    assert table(out)["I102"]["note"] == "frames 3x600"
    (made,) = out.rglob("*_pet.nii.gz")
    image = nibabel.load(made)
    expected = phantom(10, 20, 20, 3, 102).transpose(3, 2, 1, 0)
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == expected.shape
    for frame in range(3):  # whichever way its axes point, it is the same head in the same order
        assert sorted(voxels[..., frame].ravel()) == sorted(expected[..., frame].ravel())
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(image.affine), SPACING, rtol=1e-5)
    sidecar = json.loads(made.with_name(made.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["FrameDuration"] == [600, 600, 600]
    assert sidecar["FrameTimesStart"] == [0, 600, 1200]
    (pair,) = build_manifest(out).select()
    assert (pair.days_apart, pair.pet.name) == (0, made.name)
    for name, content in contents(out).items():
        assert not any(secret.encode() in content for secret in SECRETS), name
    assert not any(secret.encode() in image.header.binaryblock for secret in SECRETS)


def test_an_ecat_pet_of_one_frame_has_three_axes(tmp_path):
    code, out = imported(tmp_path, [line(101, "MPRAGE", DAY), line(102, PET, DAY, form="ecat")])
    assert code == 0
    (made,) = out.rglob("*_pet.nii.gz")
    assert nibabel.load(made).shape == (20, 20, 10)


def test_a_cut_ecat_file_is_unreadable(tmp_path):
    pet = line(102, DYNAMIC, DAY, form="ecat", frames="3", defect="truncated")
    code, out = imported(tmp_path, [line(101, "MPRAGE", DAY), pet])
    assert (code, reasons(out)) == (3, {"I102": "unreadable"})
    assert not list(out.rglob("*_pet.*"))


def test_ecat_under_the_name_of_a_t1_is_a_pet(tmp_path):
    code, out = imported(tmp_path, [line(101, "MPRAGE", DAY, form="ecat")])
    assert (code, reasons(out)) == (1, {"I101": "wrong_modality"})


def test_frames_that_are_series_of_their_own_stay_out(tmp_path):
    pet = line(102, DYNAMIC, DAY, frames="4", defect="series_of_frames")
    code, out = imported(tmp_path, [line(101, "MPRAGE", DAY), pet])
    assert (code, reasons(out)) == (3, {"I102": "incomplete_series"})
    assert "4 images" in table(out)["I102"]["note"]
    assert not list(out.rglob("*_pet.*"))


def test_echoes_of_one_series_stay_out_and_the_next_t1_is_taken(tmp_path):
    lines = [line(101, "MPRAGE", DAY, frames="2"), line(102, "MPRAGE", DAY)]
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (3, {"I101": "incomplete_series"})
    assert "2 images" in table(out)["I101"]["note"]
    (made,) = out.rglob("*_T1w.nii.gz")
    assert (
        json.loads(made.with_name(made.name.replace(".nii.gz", ".json")).read_text())[
            "SourceImageID"
        ]
        == "I102"
    )
