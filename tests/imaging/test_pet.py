"""A PET finds its MRI and its scale."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.dynamic_pet import PetSeries
from mri2pet.imaging.model_space import mask_to_model_space
from mri2pet.imaging.pet import (
    BUILT_IN_REFERENCE,
    Reference,
    minmax,
    prepare_pet,
    read_voi,
    reference_level,
    region_mean_mm,
)
from mri2pet.imaging.pet_registration import register_to_t1
from mri2pet.imaging.regions import cerebellum, region_mean
from mri2pet.imaging.template import template, template_mask
from mri2pet.imaging.volume import Volume

from .pet_phantom import error, frame, pet_grid, rigid, uptake

PET_SHAPE = (16, 32, 32)
FBP_RATIO = 1.505


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


def test_a_pet_far_from_its_t1_is_found(scan, prepared):
    mm, _ = error(prepared[0].t1_from_pet, scan[1])
    assert mm < 1.0
    turned = prepared[0].t1_from_pet[:3, :3] @ scan[1][:3, :3].T
    assert np.abs(turned - np.eye(3)).max() < 0.04


def test_rigid_registration_keeps_distances(scan):
    found = register_to_t1(scan[0], template(2), template_mask(2).data, degrees_of_freedom=6)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-5)
    mm, degrees = error(found, scan[1])
    assert mm < 1.0
    assert degrees < 1.0
    with pytest.raises(ValueError, match="6 or 12"):
        register_to_t1(scan[0], template(2), template_mask(2).data, degrees_of_freedom=9)


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


def test_what_was_done_is_recorded(prepared):
    details = json.loads(json.dumps(prepared[0].details()))
    assert details["pet_reference"] == BUILT_IN_REFERENCE
    assert details["pet_scaling"] == "suvr"
    assert details["pet_motion"] == []
    np.testing.assert_allclose(details["t1_from_pet"], prepared[0].t1_from_pet)


def test_minmax_spans_zero_to_one():
    values = np.array([[-2.0, 0.0], [1.0, 6.0]], np.float32)
    np.testing.assert_allclose(minmax(values), [[0, 0.25], [0.375, 1]])
    assert not minmax(np.ones((2, 2))).any()


def test_an_unknown_scaling_is_refused_before_any_work():
    with pytest.raises(UsageError, match="'z' is none of suvr, minmax"):
        prepare_pet("absent.nii", None, None, None, None, PET_SHAPE, scaling="z")  # type: ignore[arg-type]


def test_a_region_is_read_where_it_lies():
    """On another grid, through a transform, with the part outside the view left out."""
    pet = Volume(np.ones((20, 20, 20), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]), "SUVR")
    pet.data[10:] = 3.0
    region = Volume(np.ones((4, 10, 10), np.float32), np.eye(4), "1")
    shift = np.eye(4)
    shift[:3, 3] = 5.0
    assert region_mean_mm(pet, region, np.linalg.inv(shift)) == (1.0, 1.0)
    shift[0, 3] = 30.0
    assert region_mean_mm(pet, region, np.linalg.inv(shift)) == (3.0, 1.0)
    shift[0, 3] = -2.0
    mean, covered = region_mean_mm(pet, region, np.linalg.inv(shift))
    assert mean == 1.0
    assert covered == pytest.approx(0.5, abs=0.26)
    shift[0, 3] = 500.0
    assert region_mean_mm(pet, region, np.linalg.inv(shift)) == (0.0, 0.0)


def test_a_pet_that_misses_the_reference_is_refused():
    reference = Reference.built_in()
    high = uptake()
    with pytest.raises(InputError, match="field of view holds only"):
        reference_level("pet.nii", high, reference, rigid(shift_mm=(0.0, 0.0, 90.0)))
    nothing = Volume(np.zeros_like(high.data), high.affine)
    with pytest.raises(InputError, match="no signal in the reference"):
        reference_level("pet.nii", nothing, reference, np.eye(4))


def save_voi(path, data, sform, qform, sform_code=2):
    image = nibabel.Nifti1Image(np.asarray(data, np.uint8), sform)
    image.set_sform(sform, code=sform_code)
    image.set_qform(qform, code=1)
    nibabel.save(image, path)
    return path


def test_the_sform_of_a_voi_counts(tmp_path):
    data = np.zeros((5, 6, 7))
    data[1, 2, 3] = 1
    sform, qform = np.diag([-2.0, 2, 2, 1]), np.diag([-2.0, -2, -2, 1])
    voi = read_voi(save_voi(tmp_path / "voi.nii", data, sform, qform))
    np.testing.assert_array_equal(voi.affine, sform)
    np.testing.assert_array_equal(np.argwhere(voi.data), [[1, 2, 3]])
    only_qform = read_voi(save_voi(tmp_path / "voi2.nii", data, sform, qform, sform_code=0))
    np.testing.assert_array_equal(only_qform.affine, qform)
    assert Reference.from_file(tmp_path / "voi.nii").name.startswith("voi.nii, sha256 ")


def test_unusable_vois_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_voi(tmp_path / "absent.nii")
    zeros = np.zeros((5, 6, 7))
    with pytest.raises(InputError, match="no voxel"):
        read_voi(save_voi(tmp_path / "zeros.nii", zeros, np.eye(4), np.eye(4)))
    with pytest.raises(InputError, match="2 axes"):
        read_voi(save_voi(tmp_path / "flat.nii", zeros[0] + 1, np.eye(4), np.eye(4)))
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_voi(tmp_path / "text.nii")


def test_the_real_florbetapir_average_has_its_published_ratio(shared_data):
    image = nibabel.load(shared_data / "pet" / "rPOP_Template_FBP_pos.nii")
    pet = Volume(np.squeeze(np.asarray(image.dataobj, np.float32)), image.affine, "SUVR")
    atlas = shared_data / "atlas"
    cortex, whole = region_mean_mm(pet, read_voi(atlas / "centiloid_voi_ctx_2mm.nii"))
    reference = Reference.from_file(atlas / "centiloid_voi_WhlCbl_2mm.nii")
    cerebellar = reference_level("average", pet, reference, np.eye(4))
    assert whole == pytest.approx(1.0)
    assert cortex / cerebellar == pytest.approx(FBP_RATIO, abs=0.01)


def test_the_vois_mean_what_they_say_on_the_perfusion_average(shared_data):
    """Every VOI lies inside the field of view and on tissue; a flipped one would not."""
    image = nibabel.load(shared_data / "pet" / "spm12_PET_template.nii")
    pet = Volume(np.squeeze(np.asarray(image.dataobj, np.float32)), image.affine, "a.u.")
    for name in ("ctx", "WhlCbl", "Pons"):
        voi = read_voi(shared_data / "atlas" / f"centiloid_voi_{name}_2mm.nii")
        mean, covered = region_mean_mm(pet, voi)
        assert covered > 0.97
        assert 0.4 < mean < 1.0
