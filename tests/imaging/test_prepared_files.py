"""`mri2pet preprocess`: what it writes, and what scales the PET."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from mri2pet.cli import main as cli
from mri2pet.imaging import prepared_files
from mri2pet.imaging.space.model_space import pet_to_model_space
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.suvr.reference import Reference, reference_level
from mri2pet.imaging.suvr.regions import region_mean

from .pet_phantom import save_voi, uptake


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs the command; finding the brain and the PET in it, and sinc, are tested elsewhere."""
    t1, mask = template(2), template_mask(2)

    def preprocess(path, *, mri_shape, pet_shape, **options):
        return SimpleNamespace(
            mri=np.ones(mri_shape, np.float32),
            t1=SimpleNamespace(volume=t1, name=str(path), sha256="0"),
            brain_mask=mask.data > 0,
            record=SimpleNamespace(template_from_subject=np.eye(4), to_json=lambda: "{}"),
            checks={},
            warnings=[],
        )

    monkeypatch.setattr(prepared_files, "preprocess", preprocess)
    monkeypatch.setattr("mri2pet.imaging.pet.to_t1.register_to_t1", lambda *given: np.eye(4))

    def linear(*given, interpolation):
        return pet_to_model_space(*given, interpolation="linear")

    monkeypatch.setattr("mri2pet.imaging.pet.prepare.pet_to_model_space", linear)
    pet = tmp_path / "pet.nii.gz"
    nibabel.save(nibabel.Nifti1Image(5000 * uptake().data, uptake().affine), pet)

    def run(*options, expected=0):
        out = tmp_path / "out"
        given = ["preprocess", "t1.nii", "--pet", str(pet), "-o", str(out), "-q", *options]
        assert cli.main(given) == expected
        return out

    return run


def details(out):
    return json.loads((out / "preprocess.json").read_text())


def test_suvr_by_the_built_in_cerebellum_is_the_default(go, capsys):
    out = go()
    assert "axes scaled by 1.000, 1.000, 1.000" in capsys.readouterr().out
    found = details(out)
    assert found["pet_reference"] == "whole cerebellum, built in"
    assert found["pet_unit"] == "SUVR"
    pet = np.load(out / "pet.npy")
    assert region_mean(pet, "cerebellum") == pytest.approx(1, abs=0.05)
    sidecar = json.loads((out / "pet_suvr.json").read_text())
    assert sidecar["Units"] == "SUVR"
    raw, scaled = uptake(), nibabel.load(out / "pet_suvr.nii.gz").get_fdata()
    level = reference_level("pet", raw, Reference.of("cerebellum"), np.eye(4))
    np.testing.assert_allclose(scaled, raw.data / level, atol=1e-4)
    assert go("--reference", "cerebellum") == out
    np.testing.assert_array_equal(np.load(out / "pet.npy"), pet)


def test_a_voi_file_scales_where_its_sform_puts_it(go, tmp_path):
    """The qform of this VOI would put it elsewhere."""
    mask = template_mask(2)
    region = np.zeros(mask.data.shape, np.uint8)
    region[40:50, 60:80, 30:45] = mask.data[40:50, 60:80, 30:45]
    flipped = mask.affine @ np.diag([1.0, -1.0, -1.0, 1.0])
    path = save_voi(tmp_path / "voi.nii", region, mask.affine, flipped)
    out = go("--reference", str(path))
    found = details(out)
    assert found["pet_reference"] == Reference.of(path).name
    level = (uptake().data * region).sum() / region.sum()
    assert found["pet_scale_to_suvr"] == pytest.approx(1 / (5000 * level), rel=1e-3)


def test_minmax_has_no_suvr_files(go, tmp_path):
    (tmp_path / "out").mkdir()
    for name in prepared_files.SUVR_FILES:  # of an earlier run with a reference
        (tmp_path / "out" / name).touch()
    out = go("--reference", "minmax")
    assert (details(out)["pet_unit"], details(out)["pet_scale_to_suvr"]) == ("0 to 1", None)
    pet = np.load(out / "pet.npy")
    assert (pet.min(), pet.max()) == (0, 1)
    assert not list(out.glob("pet_suvr*"))


def test_what_is_no_reference_is_refused_before_any_work(go, tmp_path, capsys):
    zeros = np.zeros((20, 20, 20))
    empty = save_voi(tmp_path / "empty.nii", zeros, np.eye(4), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = 400
    foreign = save_voi(tmp_path / "foreign.nii", zeros + 1, far, far)
    for setting, reason in (
        ("pons", "there is no such file"),
        (empty, "is empty (all its voxels are zero)"),
        (foreign, "only 0 % of this VOI lies in the template's brain"),
    ):
        out = go("--reference", str(setting), expected=1)
        assert reason in capsys.readouterr().err
        assert not out.exists()
