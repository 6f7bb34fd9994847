"""An image is opened by what it holds; what is none is named for what it is."""

from __future__ import annotations

import gzip
import os
import struct

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.files import opening
from mri2pet.imaging.files.kinds import MASK, PET, T1, VOI
from mri2pet.imaging.files.reading import file_sha256, read_image

SHAPE = (60, 64, 56)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
KINDS = (T1, PET, MASK, VOI)


def image(kind=nibabel.Nifti1Image):
    data = (np.random.default_rng(1).random(SHAPE) * 200 + 1).astype(np.float32)
    return kind(data, AFFINE)


def refusal(path, kind=T1):
    with pytest.raises(InputError) as caught:
        read_image(path, kind)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz", "t1", "t1.img", "t1.NII.GZ", "t1.txt"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.MGHImage])
def test_the_name_does_not_matter(tmp_path, name, packed, kind):
    content = image(kind).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if packed else content)
    found = read_image(tmp_path / name, T1)
    np.testing.assert_array_equal(found.frames[0], image().get_fdata())
    np.testing.assert_allclose(found.placed.affine, AFFINE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_link_without_content_is_named(tmp_path, kind):
    link = tmp_path / "sub-01_T1w.nii.gz"
    link.symlink_to("../.git/annex/objects/8p/zJ/SHA256E-s2--c3fd.nii.gz/SHA256E-s2--c3fd.nii.gz")
    message = refusal(link, kind)
    assert "is a link whose target is not there (SHA256E-s2--c3fd.nii.gz)" in message
    assert "datalad get" in message
    plain = tmp_path / "plain.nii.gz"
    plain.symlink_to("gone.nii.gz")
    assert "(gone.nii.gz); restore it" in refusal(plain, kind)


def test_a_linked_folder_without_content_is_named(tmp_path):
    (tmp_path / "sub-01").symlink_to(tmp_path / "archive")
    message = refusal(tmp_path / "sub-01" / "T1.nii.gz")
    assert "lies below sub-01, a link whose target is not there (archive)" in message


def test_a_link_to_itself_a_pipe_and_a_folder_are_named(tmp_path):
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    assert "leads back to itself" in refusal(tmp_path / "loop.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    assert "is a device or a pipe" in refusal(tmp_path / "pipe.nii")
    (tmp_path / "folder.nii").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.nii")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (bytes(4096), "it holds zeros alone"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        (b"/annex/objects/MD5E-s1--d.nii.gz\n", "datalad get"),
        (bytes(128) + b"DICM" + bytes(900), "is a DICOM file"),
        (b"PK\x03\x04" + bytes(900), "is a zip archive"),
        (b"\x89PNG\r\n" + bytes(900), "is a PNG picture"),
        (b"subject,age\n1,70\n", "is a text file"),
        (bytes(range(1, 256)) * 4, "is not an image that can be read"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_image_is_named_for_what_it_is(tmp_path, content, told, packed):
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert told in refusal(path)


@pytest.mark.parametrize("from_end", [1, 6])
def test_a_gzip_whose_checksum_or_length_is_wrong_is_refused(tmp_path, from_end):
    content = bytearray(gzip.compress(image().to_bytes(), 1))
    content[-from_end] ^= 4
    (tmp_path / "t1.nii.gz").write_bytes(bytes(content))
    assert "is truncated or damaged" in refusal(tmp_path / "t1.nii.gz")


def test_bytes_behind_a_whole_gzip_are_told(tmp_path):
    content = gzip.compress(image().to_bytes(), 1) + b"left over"
    (tmp_path / "t1.nii.gz").write_bytes(content)
    found = read_image(tmp_path / "t1.nii.gz", T1)
    assert found.warnings == ["Behind the gzip data stand other bytes, which were not read."]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_rounded_quaternion_does_not_matter_where_the_sform_counts(tmp_path, kind):
    placed = image()
    placed.set_qform(AFFINE, 1)
    placed.set_sform(AFFINE, 1)
    content = bytearray(placed.to_bytes())
    content[256:268] = struct.pack("<3f", 0.0, 1.000001, 0.0)
    (tmp_path / "t1.nii").write_bytes(bytes(content))
    found = read_image(tmp_path / "t1.nii", kind)
    assert "The qform is not valid; the sform was used." in found.warnings


def test_an_analyze_image_in_memory_lies_where_it_was_put():
    found = read_image(image(nibabel.Spm99AnalyzeImage), VOI)
    np.testing.assert_allclose(found.placed.affine, AFFINE)


def test_a_file_that_went_away_is_no_truncated_one(tmp_path):
    nibabel.save(image(), tmp_path / "t1.nii")
    lazy = nibabel.load(tmp_path / "t1.nii")
    (tmp_path / "t1.nii").unlink()
    with pytest.raises(InputError, match="could not be read from its disk or network"):
        read_image(lazy, T1)


def test_half_of_a_pair_is_named(tmp_path):
    nibabel.save(image(nibabel.Nifti1Pair), tmp_path / "t1.hdr")
    (tmp_path / "t1.img").unlink()
    assert "its other half t1.img is missing" in refusal(tmp_path / "t1.hdr")


def promising(path, packed, shape):
    content = bytearray(image().to_bytes())
    content[40:48] = struct.pack("<4h", 3, *shape)
    path.write_bytes(gzip.compress(bytes(content), 1) if packed else bytes(content))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path, packed):
    message = refusal(promising(tmp_path / "t1.nii", packed, (30000, 30000, 30000)))
    assert "promises 30000 x 30000 x 30000 voxels, 108 TB" in message


def test_an_image_beyond_the_free_memory_is_refused(tmp_path, monkeypatch):
    nibabel.save(image(), tmp_path / "t1.nii")
    monkeypatch.setattr("mri2pet.memory.available_bytes", lambda device: 10**6)
    assert "60 x 64 x 56 voxels take 5.16 MB of memory and 1 MB are free" in refusal(
        tmp_path / "t1.nii"
    )


@pytest.mark.parametrize("shape", [(60, 64, 0), (-5, 64, 56)])
def test_a_header_without_voxels_is_refused(tmp_path, shape):
    refusal(promising(tmp_path / "t1.nii", False, shape))


def test_errors_of_the_disk_are_told(tmp_path, monkeypatch):
    import errno

    nibabel.save(image(), tmp_path / "t1.nii")

    def fail(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(opening, "_check_size", fail)
    assert "could not be read from its disk or network (Stale file handle)" in refusal(
        tmp_path / "t1.nii"
    )


def test_no_flipped_bit_of_a_header_ends_in_a_traceback(tmp_path):
    """The file is cut behind its header, so that every one of them is refused."""
    content = image().to_bytes()
    path = tmp_path / "t1.nii"
    for at in range(348):
        for bit in (0, 7):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            path.write_bytes(bytes(changed[:8000]))
            with pytest.raises(InputError):
                read_image(path, T1)


def test_the_hash_of_a_pair_is_of_both_files(tmp_path):
    nibabel.save(image(nibabel.Nifti1Pair), tmp_path / "t1.hdr")
    first = file_sha256(tmp_path / "t1.hdr")
    assert file_sha256(tmp_path / "t1.img") == first
    content = bytearray((tmp_path / "t1.img").read_bytes())
    content[-1] ^= 1
    (tmp_path / "t1.img").write_bytes(bytes(content))
    assert file_sha256(tmp_path / "t1.hdr") != first
