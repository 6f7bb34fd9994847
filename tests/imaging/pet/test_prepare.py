"""A PET finds its MRI and its scale."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri2pet.imaging.pet.frames import PetSeries
from mri2pet.imaging.pet.prepare import minmax, prepare_pet
from mri2pet.imaging.pet.to_t1 import register_to_t1
from mri2pet.imaging.space.model_space import mask_to_model_space, pet_to_model_space
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.means import region_mean_mm
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.imaging.suvr.regions import cerebellum, region_mean

from ..pet_phantom import error, frame, pet_grid, rigid, save_voi, uptake

PET_SHAPE = (16, 32, 32)


@pytest.fixture(scope="module")
def scan():
    """A noisy PET whose head lies 60 mm and some degrees away from its T1, and the truth."""
    pet_from_t1 = rigid((6.0, -4.0, 8.0), (40.0, -30.0, 35.0))
    shape, affine = pet_grid()
    affine = rigid(shift_mm=(40.0, -30.0, 35.0)) @ affine
    data = frame(pet_from_t1, (shape, affine), 5000.0, 0.1, 3)
    return Volume(data, affine, "raw PET"), np.linalg.inv(pet_from_t1)


@pytest.fixture(scope="module")
def prepared(scan):
    """The scan prepared with the built-in reference; the T1 is the template itself."""
    pet, _ = scan
    t1, mask = template(2), template_mask(2)
    brain = mask_to_model_space(mask.data, t1.affine, np.eye(4), PET_SHAPE)
    stages = []
    done = prepare_pet(
        PetSeries("scan", pet.data[None], pet.affine),
        t1,
        mask.data,
        np.eye(4),
        brain,
        PET_SHAPE,
        on_stage=lambda name, seconds: stages.append((name, seconds)),
    )
    return done, stages


@pytest.mark.slow
def test_a_pet_far_from_its_t1_is_found(scan, prepared):
    mm, _ = error(prepared[0].t1_from_pet, scan[1])
    assert mm < 1.0
    turned = prepared[0].t1_from_pet[:3, :3] @ scan[1][:3, :3].T
    assert np.abs(turned - np.eye(3)).max() < 0.04


@pytest.mark.slow
def test_rigid_registration_keeps_distances(scan):
    found = register_to_t1(scan[0], template(2), template_mask(2).data, degrees_of_freedom=6)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-5)
    mm, degrees = error(found, scan[1])
    assert mm < 1.0
    assert degrees < 1.0
    with pytest.raises(ValueError, match="6 or 12"):
        register_to_t1(scan[0], template(2), template_mask(2).data, degrees_of_freedom=9)


@pytest.mark.slow
def test_suvr_is_one_in_the_cerebellum_and_true_elsewhere(prepared):
    done, stages = prepared
    assert done.kij.shape == PET_SHAPE
    assert done.kij.dtype == np.float32
    assert region_mean(done.kij, "cerebellum") == pytest.approx(1.0, abs=0.08)
    head = uptake()
    level = region_mean_mm(head, cerebellum(2))[0]
    assert done.scale_to_suvr == pytest.approx(1 / (5000.0 * level), rel=0.02)
    assert done.volume.unit == "SUVR"
    assert {name for name, seconds in stages if seconds is not None} == {
        "PET motion",
        "PET to T1",
        "PET to model space",
    }


@pytest.mark.slow
def test_what_was_done_is_recorded(prepared):
    details = json.loads(json.dumps(prepared[0].details()))
    assert details["pet_reference"] == "whole cerebellum, built in"
    assert details["pet_unit"] == "SUVR"
    assert details["pet_motion"] == []
    np.testing.assert_allclose(details["t1_from_pet"], prepared[0].t1_from_pet)


def test_minmax_spans_zero_to_one():
    values = np.array([[-2.0, 0.0], [1.0, 6.0]], np.float32)
    np.testing.assert_allclose(minmax(values), [[0, 0.25], [0.375, 1]])
    assert not minmax(np.ones((2, 2))).any()


@pytest.fixture
def scaled_by(scan, monkeypatch):
    """The scan prepared at its true place with a reference; sinc is in `prepared`."""

    def linear(*given, interpolation):
        return pet_to_model_space(*given, interpolation="linear")

    monkeypatch.setattr("mri2pet.imaging.pet.to_t1.register_to_t1", lambda *given: scan[1])
    monkeypatch.setattr("mri2pet.imaging.pet.prepare.pet_to_model_space", linear)
    t1, mask = template(2), template_mask(2)
    brain = mask_to_model_space(mask.data, t1.affine, np.eye(4), PET_SHAPE)
    series = PetSeries("scan", scan[0].data[None], scan[0].affine)

    def prepare(setting):
        reference = Reference.of(setting)
        return prepare_pet(series, t1, mask.data, np.eye(4), brain, PET_SHAPE, reference=reference)

    return prepare


def test_the_reference_scales_the_pet(scaled_by, tmp_path):
    cerebellar = scaled_by("cerebellum")
    path = tmp_path / "whole_brain.nii.gz"
    mask = template_mask(2)
    save_voi(path, mask.data, mask.affine, mask.affine)
    of_brain = scaled_by(path)
    assert region_mean_mm(of_brain.volume, mask, of_brain.t1_from_pet)[0] == pytest.approx(1)
    ratio = of_brain.scale_to_suvr / cerebellar.scale_to_suvr
    assert abs(ratio - 1) > 0.02
    np.testing.assert_allclose(of_brain.kij, ratio * cerebellar.kij, rtol=1e-4, atol=1e-5)
    assert of_brain.details()["pet_reference"].startswith("whole_brain.nii.gz, sha256 ")
    alone = scaled_by("minmax")
    assert (alone.kij.min(), alone.kij.max()) == (0, 1)
    np.testing.assert_allclose(alone.kij, cerebellar.kij / cerebellar.kij.max(), atol=1e-5)
    details = alone.details()
    assert (details["pet_unit"], details["pet_scale_to_suvr"]) == ("0 to 1", None)
    assert details["pet_reference"] == "minimum and maximum of each volume"
