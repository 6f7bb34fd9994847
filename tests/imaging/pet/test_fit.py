"""A PET that fits its T1 is told from one that does not, with numbers."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from mri2pet.cli import main as cli
from mri2pet.errors import InputError
from mri2pet.imaging.pet.fit import PetFit, measure_fit, refuse_misfit
from mri2pet.imaging.pet.frames import PetSeries
from mri2pet.imaging.pet.prepare import prepare_pet
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.means import region_mean_mm
from mri2pet.imaging.suvr.reference import read_voi

from ..pet_phantom import rigid, uptake

PET_SHAPE = (16, 32, 32)
FBP_RATIO = 1.505


def fit(pet, t1_from_pet):
    return measure_fit(pet, template(2), template_mask(2).data > 0, t1_from_pet)


def test_the_better_the_fit_the_more_is_shared():
    shared = [fit(uptake(), rigid(shift_mm=(0, mm, 0))).mutual_information for mm in (0, 5, 10, 30)]
    assert shared == sorted(shared, reverse=True)
    assert 0.3 < shared[0] < 1.1
    assert shared[3] < 0.3
    stretched = fit(uptake(), np.diag([1.1, 1.0, 0.9, 1.0]))
    assert stretched.axis_scaling == pytest.approx((1.1, 1.0, 0.9))
    assert json.loads(json.dumps(stretched.as_dict()))["axis_scaling"] == [1.1, 1.0, 0.9]


def test_figures_outside_the_limits_are_refused():
    one = (1.0, 1.0, 1.0)
    refuse_misfit("pet.nii", PetFit(0.31, one))
    refuse_misfit("pet.nii", PetFit(1.09, one))
    with pytest.raises(InputError, match=r"pet\.nii: does not fit the T1 .*0\.29 nats"):
        refuse_misfit("pet.nii", PetFit(0.29, one))
    with pytest.raises(InputError, match=r"1\.20 nats.*must be an MRI"):
        refuse_misfit("pet.nii", PetFit(1.2, one))


def test_a_wrong_image_is_refused_before_it_is_scaled(monkeypatch):
    monkeypatch.setattr("mri2pet.imaging.pet.to_t1.register_to_t1", lambda *given: np.eye(4))
    t1, mask = template(2), template_mask(2).data > 0
    brain = np.ones(PET_SHAPE, np.float32)
    noise = np.random.default_rng(0).random(uptake().shape).astype(np.float32)
    turned = np.ascontiguousarray(uptake().data[:, :, ::-1])
    for data, reason in (
        (noise, "does not fit the T1"),
        (turned, "does not fit the T1"),
        (t1.data, "must be an MRI"),
    ):
        series = PetSeries("pet.nii", data[None], t1.affine)
        with pytest.raises(InputError, match=reason):
            prepare_pet(series, t1, mask, np.eye(4), brain, PET_SHAPE)


@pytest.fixture
def t1_file(tmp_path):
    """The template's brain as a T1."""
    brain = template(2)
    image = nibabel.Nifti1Image(np.rint(400 * brain.data).astype(np.int16), brain.affine)
    image.set_sform(brain.affine, code=4)
    image.set_qform(brain.affine, code=4)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "t1.nii.gz")
    return tmp_path / "t1.nii.gz"


@pytest.mark.slow
def test_a_real_average_fits_the_template(shared_data, t1_file, tmp_path):
    """Its place is known: both are in MNI space, whose versions differ by a few millimetres."""
    voi = shared_data / "atlas" / "centiloid_voi_WhlCbl_2mm.nii"
    pet = shared_data / "pet" / "rPOP_Template_FBP_pos.nii"
    out = tmp_path / "out"
    command = ["preprocess", str(t1_file), "--skull-stripped", "-q", "-o", str(out)]
    assert cli.main([*command, "--pet", str(pet), "--reference", str(voi)]) == 0
    done = json.loads((out / "preprocess.json").read_text())
    assert 0.4 < done["pet_fit"]["mutual_information"] < 0.7
    assert done["pet_fit"]["axis_scaling"] == pytest.approx([1, 1, 1], abs=0.06)
    template_from_pet = np.array(done["template_from_t1"]) @ np.array(done["t1_from_pet"])
    corners = np.array(
        [[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 60)], float
    ).T
    moved_mm = np.linalg.norm((template_from_pet @ corners - corners)[:3], axis=0)
    assert moved_mm.max() < 8
    image = nibabel.load(out / "pet_suvr.nii.gz")
    suvr = Volume(image.get_fdata(dtype=np.float32), image.affine, "SUVR")
    cerebellar = region_mean_mm(suvr, read_voi(voi), template_from_pet)[0]
    cortex = read_voi(shared_data / "atlas" / "centiloid_voi_ctx_2mm.nii")
    cortical = region_mean_mm(suvr, cortex, template_from_pet)[0]
    assert cerebellar == pytest.approx(1, abs=0.001)
    assert cortical == pytest.approx(FBP_RATIO, abs=0.06)


@pytest.mark.slow
def test_a_real_average_turned_over_is_refused(shared_data, t1_file, tmp_path, capsys):
    image = nibabel.load(shared_data / "pet" / "rPOP_Template_FBP_pos.nii")
    turned = np.squeeze(np.asarray(image.dataobj))[:, :, ::-1]
    nibabel.save(nibabel.Nifti1Image(turned, image.affine), tmp_path / "turned.nii")
    command = ["preprocess", str(t1_file), "--skull-stripped", "-q", "-o", str(tmp_path / "out")]
    assert cli.main([*command, "--pet", str(tmp_path / "turned.nii")]) == 1
    assert "turned.nii: does not fit the T1 after registration" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
