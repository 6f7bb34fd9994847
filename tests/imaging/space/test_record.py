"""The way back: same grid, same header, right places."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mri2pet.imaging.space.grid import grid_affine, to_kij
from mri2pet.imaging.space.model_space import pet_to_model_space
from mri2pet.imaging.space.record import SpaceRecord
from mri2pet.imaging.space.subject_grid import SubjectGrid
from mri2pet.imaging.space.volume import Volume

PET_SHAPE = (32, 64, 64)


def oblique_image(qform_code=1, sform_code=4, units=("mm", "sec"), kind=nibabel.Nifti1Image):
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [12, -7, 25], degrees=True).as_matrix()
    affine[:3, :3] = (turn @ np.diag([1.7, 1.9, 2.3]))[:, [2, 0, 1]] * [1, -1, -1]
    shape = (80, 100, 90)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    image = kind(np.zeros(shape, np.int16), affine)
    image.set_qform(affine, code=qform_code)
    image.set_sform(affine, code=sform_code)
    image.header.set_xyzt_units(*units)
    return image


def transform():
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.05, 0.1, 0], [-0.1, 0.95, 0.05], [0, -0.05, 1.02]]
    matrix[:3, 3] = [3, -15, 6]
    return matrix


def record_of(image, mask=None):
    grid = SubjectGrid.of(image, assume_ras=True, doubts=[])
    whole = np.ones(grid.shape, bool) if mask is None else mask
    return SpaceRecord(transform(), grid, PET_SHAPE, whole)


def subject_mm(image):
    index = np.indices(image.shape[:3]).reshape(3, -1)
    return image.affine[:3, :3] @ index + image.affine[:3, 3:]


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 1), (1, 0), (0, 4), (2, 3)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_header_of_the_input_is_repeated(tmp_path, kind, qform_code, sform_code):
    path = tmp_path / "t1.nii.gz"
    nibabel.save(oblique_image(qform_code, sform_code, kind=kind), path)
    given = nibabel.load(path)
    out = tmp_path / "pet.nii.gz"
    nibabel.save(record_of(given).nifti(np.ones(given.shape)), out)
    pet = nibabel.load(out)
    assert pet.shape == given.shape
    np.testing.assert_allclose(pet.affine, given.affine, atol=1e-4)
    np.testing.assert_allclose(pet.get_qform(), given.get_qform(), atol=1e-4)
    np.testing.assert_allclose(pet.get_sform(), given.get_sform(), atol=1e-4)
    for code in ("qform_code", "sform_code"):
        assert int(pet.header[code]) == int(given.header[code])
    assert pet.header.get_xyzt_units() == given.header.get_xyzt_units()
    assert pet.header.get_data_dtype() == np.float32
    if kind is nibabel.Nifti1Image:
        for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "qoffset_x"):
            np.testing.assert_array_equal(pet.header[field], given.header[field])
        np.testing.assert_array_equal(pet.header["pixdim"][:4], given.header["pixdim"][:4])


def test_a_disagreeing_qform_is_repeated_too(tmp_path):
    image = oblique_image()
    other = image.affine.copy()
    other[:3, 3] += 9
    image.set_qform(other, code=1)
    pet = record_of(image).nifti(np.zeros(image.shape))
    np.testing.assert_allclose(pet.get_qform(), other, atol=1e-4)
    np.testing.assert_allclose(pet.affine, image.affine, atol=1e-4)


def test_a_format_without_nifti_codes_is_written_with_its_affine():
    base = oblique_image()
    mgh = nibabel.MGHImage(np.zeros(base.shape, np.float32), base.affine)
    pet = record_of(mgh).nifti(np.zeros(base.shape))
    np.testing.assert_allclose(pet.affine, base.affine, atol=1e-4)
    np.testing.assert_allclose(pet.get_qform(), base.affine, atol=1e-4)
    assert int(pet.header["sform_code"]) == 1
    assert pet.header.get_xyzt_units()[0] == "mm"


def test_values_of_another_shape_are_refused():
    record = record_of(oblique_image())
    with pytest.raises(ValueError, match="are not on a grid"):
        record.nifti(np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="not on the model grid"):
        record.to_subject(np.zeros((3, 3, 3), np.float32))


def test_a_plane_lands_exactly():
    """A linear ramp is interpolated without error, so any shift of half a voxel shows."""
    image = oblique_image()
    record = record_of(image)
    affine = grid_affine(PET_SHAPE)
    index = np.indices((64, 64, 32))
    ramp = 200 + np.einsum("a,axyz->xyz", affine[0, 0] * np.array([1, 0, 0]), index) + affine[0, 3]
    ramp = ramp + 0.5 * (affine[2, 2] * index[2] + affine[2, 3])
    there = record.to_subject(to_kij(ramp).astype(np.float32)).ravel()
    mm = transform()[:3, :3] @ subject_mm(image) + transform()[:3, 3:]
    inner = (np.abs(mm[0]) < 70) & (np.abs(mm[1] + 17) < 70) & (np.abs(mm[2] - 4) < 55)
    assert inner.sum() > 50_000
    np.testing.assert_allclose(there[inner], (200 + mm[0] + 0.5 * mm[2])[inner], atol=0.05)


def test_there_and_back_keeps_a_smooth_pet():
    image = oblique_image()
    record = record_of(image)
    mm = transform()[:3, :3] @ subject_mm(image) + transform()[:3, 3:]
    smooth = 1 + 0.4 * np.exp(-(((mm - [[20], [-30], [10]]) / 25) ** 2).sum(axis=0))
    pet = Volume(smooth.reshape(image.shape).astype(np.float32), image.affine, "SUVR")
    model = pet_to_model_space(pet, transform(), np.ones(PET_SHAPE, np.float32), PET_SHAPE)
    back = record.to_subject(model).ravel()
    near = (((mm - [[20], [-30], [10]]) / 30) ** 2).sum(axis=0) < 1
    assert np.abs(back - smooth)[near].max() < 0.02


def test_pet_is_zero_away_from_the_brain_and_never_negative():
    image = oblique_image()
    mask = np.zeros(image.shape, bool)
    mask[30:50, 40:60, 35:55] = True
    values = np.random.default_rng(0).normal(0.2, 1.0, PET_SHAPE).astype(np.float32)
    there = record_of(image, mask).to_subject(values)
    assert there.min() == 0
    assert there[mask].any()
    from scipy.ndimage import distance_transform_edt

    voxel = np.linalg.norm(image.affine[:3, :3], axis=0)
    distance = distance_transform_edt(~mask, sampling=voxel)
    assert not there[distance > 4.5].any()
    flat = record_of(image, mask).to_subject(np.ones(PET_SHAPE, np.float32))
    np.testing.assert_allclose(flat[mask], 1.0, atol=1e-5)
    fading = flat[(distance < 2.0) & (distance > 0)]
    assert np.median(fading) > 0.8


def test_the_rim_fades_and_follows_a_small_move_of_the_mask_only_a_little():
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = [-20, -40, -10]
    image = nibabel.Nifti1Image(np.zeros((80, 80, 80), np.int16), affine)
    image.set_sform(affine, code=1)
    index = np.indices(image.shape) - np.array([39.5, 39.5, 39.5]).reshape(3, 1, 1, 1)
    distance = np.sqrt((index**2).sum(axis=0)) * 0.5
    ones = np.ones(PET_SHAPE, np.float32)
    flat = record_of(image, distance < 12.0).to_subject(ones)
    np.testing.assert_allclose(flat[distance < 12.0], 1.0, atol=1e-5)
    assert not flat[distance > 15.5].any()
    along = flat[39, 39, 40:]
    assert (np.diff(along) <= 1e-6).all()
    assert np.abs(np.diff(along)).max() < 0.35
    moved = record_of(image, distance < 12.18).to_subject(ones)
    assert np.abs(moved - flat).max() < 0.2


def test_a_record_survives_json():
    mask = np.random.default_rng(0).random((80, 100, 90)) > 0.5
    record = record_of(oblique_image(), mask)
    again = SpaceRecord.from_json(record.to_json())
    np.testing.assert_array_equal(again.brain_mask, mask)
    np.testing.assert_array_equal(again.template_from_subject, record.template_from_subject)
    np.testing.assert_array_equal(again.grid.affine, record.grid.affine)
    assert again.grid.header == record.grid.header
    assert again.pet_shape == record.pet_shape
    first = record.nifti(np.zeros(mask.shape))
    assert again.nifti(np.zeros(mask.shape)).header == first.header
