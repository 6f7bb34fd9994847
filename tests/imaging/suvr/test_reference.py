"""What PETs are scaled by: a region of template space, or nothing but themselves."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError, ModelError
from mri2pet.imaging.space.model_space import mask_to_model_space
from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.means import region_mean_mm
from mri2pet.imaging.suvr.reference import (
    Reference,
    in_suvr,
    read_voi,
    recorded_reference,
    reference_level,
)
from mri2pet.imaging.suvr.regions import cerebellum, region_mean

from ..pet_phantom import rigid, save_voi, uptake

FBP_RATIO = 1.505
PET_SHAPE = (16, 32, 32)


@pytest.fixture
def voi(tmp_path):
    """A VOI file that holds the cerebellum."""
    region = cerebellum(2)
    return save_voi(tmp_path / "voi.nii", region.data > 0.5, region.affine, region.affine)


def test_a_word_names_what_is_built_in():
    whole, alone = Reference.of("cerebellum"), Reference.of("minmax")
    assert (whole.key, whole.unit, whole.name) == (
        "cerebellum",
        "SUVR",
        "whole cerebellum, built in",
    )
    np.testing.assert_array_equal(whole.region.data, cerebellum(2).data)
    assert (alone.key, alone.unit) == ("minmax", "0 to 1")
    with pytest.raises(ValueError, match="no reference region"):
        _ = alone.region


def test_a_file_is_known_by_its_content(voi, tmp_path):
    moved = tmp_path / "elsewhere" / "mine.nii"
    moved.parent.mkdir()
    moved.write_bytes(voi.read_bytes())
    first, second = Reference.of(voi), Reference.of(moved)
    assert first.key == second.key
    assert first.key.startswith("sha256:")
    assert first.name == f"voi.nii, sha256 {first.key.partition(':')[2]}"
    head = uptake()
    expected = region_mean_mm(head, read_voi(voi))[0]
    assert reference_level("pet.nii", head, first, np.eye(4)) == pytest.approx(expected)
    assert first.region.data.size < 0.2 * read_voi(voi).data.size
    region = cerebellum(2)
    half = region.data > 0.5
    half[:45] = False
    save_voi(moved, half, region.affine, region.affine)
    assert Reference.of(moved).key != first.key


def test_what_is_no_reference_is_refused(voi, tmp_path):
    with pytest.raises(InputError, match=r"pons: there is no such file.* cerebellum, minmax or"):
        Reference.of("pons")
    image = nibabel.load(voi)
    scanner = np.diag([2.0, 2.0, 2.0, 1.0])
    foreign = save_voi(tmp_path / "foreign.nii", image.get_fdata(), scanner, scanner)
    with pytest.raises(InputError, match=r"only \d+ % of this VOI lies in the template's brain"):
        Reference.of(foreign)


def test_volumes_of_a_minmax_model_come_to_suvr():
    mask = template_mask(2)
    brain = mask_to_model_space(mask.data, mask.affine, np.eye(4), PET_SHAPE)
    drawn = np.stack([0.3 * brain, 0.6 * brain]).astype(np.float32)
    alone = {"reference": Reference.of("minmax").record()}
    suvr = in_suvr(drawn, alone)
    assert suvr.dtype == np.float32
    assert [region_mean(kij, "cerebellum") for kij in suvr] == pytest.approx([1, 1])
    np.testing.assert_allclose(suvr[0], suvr[1], rtol=1e-6)
    assert in_suvr(drawn, {}) is drawn
    assert recorded_reference({})["key"] == "cerebellum"
    with pytest.raises(ModelError, match="no signal in the cerebellum"):
        in_suvr(0 * drawn, alone)


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
    reference = Reference.of("cerebellum")
    high = uptake()
    with pytest.raises(InputError, match="field of view holds only"):
        reference_level("pet.nii", high, reference, rigid(shift_mm=(0.0, 0.0, 90.0)))
    nothing = Volume(np.zeros_like(high.data), high.affine)
    with pytest.raises(InputError, match="no signal in the reference"):
        reference_level("pet.nii", nothing, reference, np.eye(4))


def test_the_sform_of_a_voi_counts(tmp_path):
    data = np.zeros((5, 6, 7))
    data[1, 2, 3] = 1
    sform, qform = np.diag([-2.0, 2, 2, 1]), np.diag([-2.0, -2, -2, 1])
    voi = read_voi(save_voi(tmp_path / "voi.nii", data, sform, qform))
    np.testing.assert_array_equal(voi.affine, sform)
    np.testing.assert_array_equal(np.argwhere(voi.data), [[1, 2, 3]])
    only_qform = read_voi(save_voi(tmp_path / "voi2.nii", data, sform, qform, sform_code=0))
    np.testing.assert_array_equal(only_qform.affine, qform)


def test_unusable_vois_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_voi(tmp_path / "absent.nii")
    zeros = np.zeros((5, 6, 7))
    with pytest.raises(InputError, match="is empty"):
        read_voi(save_voi(tmp_path / "zeros.nii", zeros, np.eye(4), np.eye(4)))
    with pytest.raises(InputError, match="is 2D"):
        read_voi(save_voi(tmp_path / "flat.nii", zeros[0] + 1, np.eye(4), np.eye(4)))
    labels = zeros.copy()
    labels[1], labels[2] = 1, 2
    with pytest.raises(InputError, match="several labels"):
        read_voi(save_voi(tmp_path / "labels.nii", labels, np.eye(4), np.eye(4)))
    with pytest.raises(InputError, match="no qform or sform"):
        read_voi(save_voi(tmp_path / "nowhere.nii", labels, np.eye(4), np.eye(4), 0, 0))
    packed = save_voi(tmp_path / "packed.nii.gz", labels > 0, np.eye(4), np.eye(4))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated"):
        read_voi(packed)
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(InputError, match="is a text file"):
        read_voi(tmp_path / "text.nii")


def test_the_real_florbetapir_average_has_its_published_ratio(shared_data):
    image = nibabel.load(shared_data / "pet" / "rPOP_Template_FBP_pos.nii")
    pet = Volume(np.squeeze(np.asarray(image.dataobj, np.float32)), image.affine, "SUVR")
    atlas = shared_data / "atlas"
    cortex, whole = region_mean_mm(pet, read_voi(atlas / "centiloid_voi_ctx_2mm.nii"))
    reference = Reference.of(atlas / "centiloid_voi_WhlCbl_2mm.nii")
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
