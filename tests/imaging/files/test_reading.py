"""Reading every format, and refusing bad input in one sentence."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.files.reading import read_t1

SHAPE = (60, 64, 56)
AFFINE = np.array([[-2.0, 0, 0, 60], [0, 2, 0, -64], [0, 0, 2, -56], [0, 0, 0, 1]])


def values(dtype=np.float32):
    return (np.random.default_rng(1).random(SHAPE) * 200 + 1).astype(dtype)


def image(data=None, affine=AFFINE, kind=nibabel.Nifti1Image):
    return kind(values() if data is None else data, affine)


def refusal(source, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_t1(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t1.nii", nibabel.Nifti1Image),
        ("t1.nii.gz", nibabel.Nifti1Image),
        ("t1.nii", nibabel.Nifti2Image),
        ("t1.hdr", nibabel.Nifti1Pair),
        ("t1.mgz", nibabel.MGHImage),
        ("t1.img", nibabel.Spm99AnalyzeImage),
    ],
)
def test_each_format_gives_the_same_volume(tmp_path, name, kind):
    nibabel.save(image(kind=kind), tmp_path / name)
    t1 = read_t1(tmp_path / name)
    np.testing.assert_array_equal(t1.volume.data, values())
    np.testing.assert_allclose(t1.volume.affine, AFFINE)
    assert t1.warnings == []
    assert t1.sha256 == read_t1(image()).sha256


def test_big_endian_scaled_integers_are_read(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_slope_inter(0.5, 3)
    nibabel.save(nibabel.Nifti1Image(values(), AFFINE, header), tmp_path / "t1.nii")
    np.testing.assert_allclose(read_t1(tmp_path / "t1.nii").volume.data, values(), atol=0.26)


def test_the_fingerprint_knows_values_and_place_but_not_axis_order():
    first = read_t1(image()).sha256
    assert read_t1(nibabel.as_closest_canonical(image())).sha256 == first
    changed = values()
    changed[3, 4, 5] += 1
    assert read_t1(image(changed)).sha256 != first
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    assert read_t1(image(affine=shifted)).sha256 != first


def test_one_frame_in_four_dimensions_is_3d(tmp_path):
    nibabel.save(image(values()[..., None]), tmp_path / "t1.nii")
    assert read_t1(tmp_path / "t1.nii").volume.shape == SHAPE


def test_sform_wins_over_a_different_qform_with_a_warning(tmp_path):
    twisted = image()
    qform = AFFINE.copy()
    qform[:3, 3] += [0, 7, 0]
    twisted.set_qform(qform, code=1)
    twisted.set_sform(AFFINE, code=2)
    nibabel.save(twisted, tmp_path / "t1.nii")
    t1 = read_t1(tmp_path / "t1.nii")
    np.testing.assert_allclose(t1.volume.affine, AFFINE)
    assert t1.warnings == ["qform and sform disagree by up to 7.0 mm; the sform was used."]


def test_a_few_bad_voxels_are_mended_and_warned_about():
    data = np.full(SHAPE, 50, np.float32)
    data += np.arange(SHAPE[2])
    data[10, 11, 12] = np.nan
    data[30, 31, 32] = np.inf
    t1 = read_t1(image(data))
    assert t1.volume.data[10, 11, 12] == pytest.approx(62, abs=0.1)
    assert t1.volume.data[30, 31, 32] == pytest.approx(82, abs=0.1)
    assert t1.warnings[0].startswith("2 voxels were NaN or infinite")


def test_many_bad_voxels_are_refused():
    data = values()
    data[:10] = np.nan
    assert "16.7 % of its voxels are NaN or infinite" in refusal(image(data))


def test_a_missing_file_is_refused(tmp_path):
    assert "there is no such file" in refusal(tmp_path / "none.nii.gz")


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz", "t1.mgz", "t1.txt"])
def test_what_is_not_an_image_is_refused(tmp_path, name):
    (tmp_path / name).write_text("subject,age\n1,70\n" * 100)
    message = refusal(tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: ")
    assert "not an image that can be read" in message


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "t1.nii").write_bytes(b"")
    assert "is not an image" in refusal(tmp_path / "t1.nii")


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.99])
def test_a_truncated_gzip_is_refused(tmp_path, kept):
    whole = gzip.compress(image().to_bytes())
    (tmp_path / "t1.nii.gz").write_bytes(whole[: int(len(whole) * kept)])
    assert "is truncated or damaged" in refusal(tmp_path / "t1.nii.gz")


def test_a_truncated_plain_file_is_refused(tmp_path):
    whole = image().to_bytes()
    (tmp_path / "t1.nii").write_bytes(whole[: len(whole) // 2])
    assert "is truncated or damaged" in refusal(tmp_path / "t1.nii")


def test_two_dimensions_are_refused():
    assert "is 2D (60 x 64 voxels)" in refusal(image(values()[:, :, 0]))
    assert "is 2D (60 x 64 x 1 voxels)" in refusal(image(values()[:, :, :1]))


def test_several_frames_are_refused():
    assert "has 3 frames" in refusal(image(np.stack([values()] * 3, axis=-1)))


def test_colours_and_complex_numbers_are_refused():
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "not one number per voxel" in refusal(image(colours))
    assert "not one number per voxel" in refusal(image(values(np.complex64)))


def test_empty_and_constant_images_are_refused():
    assert "all its voxels are zero" in refusal(image(np.zeros(SHAPE, np.float32)))
    assert "all its voxels are 7" in refusal(image(np.full(SHAPE, 7, np.float32)))


def test_a_label_map_is_refused():
    labels = np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.int16)
    assert "holds only 6 different values" in refusal(image(labels))


def test_a_ct_is_refused():
    ct = np.where(np.indices(SHAPE)[0] < 20, -1000, values() * 8)
    assert "looks like a CT" in refusal(image(ct.astype(np.float32)))


def without_codes(path, kind=nibabel.Nifti1Image):
    unplaced = image(kind=kind)
    unplaced.header["qform_code"] = unplaced.header["sform_code"] = 0
    nibabel.save(unplaced, path)
    raw = bytearray(path.read_bytes())
    raw[252:256] = b"\0\0\0\0"
    path.write_bytes(bytes(raw))
    return path


def test_no_orientation_is_refused_unless_ras_is_assumed(tmp_path):
    path = without_codes(tmp_path / "t1.nii")
    assert "does not say which side is left" in refusal(path)
    t1 = read_t1(path, assume_ras=True)
    np.testing.assert_allclose(np.diag(t1.volume.affine), [2, 2, 2, 1])
    np.testing.assert_allclose(t1.volume.affine @ [29.5, 31.5, 27.5, 1], [0, 0, 0, 1])
    assert "assumed to be R, A, S" in t1.warnings[0]


def test_plain_analyze_has_no_orientation(tmp_path):
    plain = nibabel.AnalyzeImage(values(), None)
    plain.header.set_zooms((2.0, 2.0, 2.0))
    nibabel.save(plain, tmp_path / "t1.img")
    assert "does not say which side is left" in refusal(tmp_path / "t1.img")
    assert read_t1(tmp_path / "t1.img", assume_ras=True).volume.shape == SHAPE


def test_assuming_ras_changes_nothing_where_the_header_knows():
    np.testing.assert_allclose(read_t1(image(), assume_ras=True).volume.affine, AFFINE)


def test_coarse_voxels_are_refused():
    coarse = AFFINE @ np.diag([1, 1, 2.5, 1])
    assert "voxels are 2 x 2 x 5 mm, above 4 mm" in refusal(image(affine=coarse))
    read_t1(image(affine=AFFINE @ np.diag([1, 1, 2.0, 1])))


def test_a_small_field_of_view_is_refused():
    message = refusal(image(values()[:, :, :30]))
    assert "field of view of 120 x 128 x 60 mm cannot hold a whole brain" in message


def test_sheared_axes_are_refused():
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.3
    assert "axes are not orthogonal (81.47 degrees" in refusal(image(affine=sheared))


def test_a_singular_affine_is_refused():
    flat = AFFINE.copy()
    flat[2, 2] = 0
    broken = image()
    broken._affine = flat
    assert "affine is not invertible" in refusal(broken)
