"""A volume becomes DICOM and comes back: values, place, and the source's own digits."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from mri2pet.dicom.reading import DicomInput, is_dicom, read_t1_series
from mri2pet.errors import InputError

from .conftest import distances
from .make_series import PLANES, enhanced, head, in_syntax, save, series

EXACT_MM = 1e-5


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("form", ["classic", "enhanced"])
def test_a_volume_comes_back(made, plane: str, form: str, tmp_path: Path) -> None:
    slices = series(*made, plane)
    save([enhanced(slices)] if form == "enhanced" else slices, tmp_path)
    read = read_t1_series(tmp_path)
    values, corners_mm = distances(read.image, *made)
    assert values == 0
    assert corners_mm < EXACT_MM
    assert read.source.warnings == ()


def test_frames_stand_for_slices_in_the_sources_own_digits(made, tmp_path: Path) -> None:
    slices = series(*made)
    for one in slices:
        one.ImagePositionPatient = [f"{float(v):.4f}" for v in one.ImagePositionPatient]
        one.PixelSpacing = ["4.000", "4.00"]
    save(slices[::-1], tmp_path)
    source = read_t1_series(tmp_path).source
    assert (source.rows, source.columns) == (36, 32)
    assert source.pixel_spacing == ("4.000", "4.00")
    assert source.slice_spacing_mm == pytest.approx(4.0, abs=1e-4)
    assert source.orientation == tuple(map(str, slices[0].ImageOrientationPatient))
    assert source.frame_of_reference_uid == slices[0].FrameOfReferenceUID
    for frame, one in zip(source.frames, slices, strict=True):
        assert frame.position == tuple(map(str, one.ImagePositionPatient))
        assert frame.dataset.SOPInstanceUID == one.SOPInstanceUID
        assert "PixelData" not in frame.dataset
        assert frame.frame_number is None
        position = np.array(frame.position, float)
        k = int(one.InstanceNumber) - 1
        assert np.allclose((source.affine @ [0, 0, k, 1])[:3] * [-1, -1, 1], position, atol=1e-3)


def test_frames_of_an_enhanced_instance_share_its_header(slices, tmp_path: Path) -> None:
    save([enhanced(slices[::-1])], tmp_path)
    frames = read_t1_series(tmp_path / "IM0001").source.frames
    assert [frame.frame_number for frame in frames] == list(range(len(slices), 0, -1))
    assert len({id(frame.dataset) for frame in frames}) == 1


def test_highdicom_makes_the_same_volume(slices, folder: Path) -> None:
    from highdicom import get_volume_from_series

    volume = get_volume_from_series([dcmread(path) for path in sorted(folder.iterdir())])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    values, corners_mm = distances(read_t1_series(folder).image, volume.array, lps)
    assert values == 0
    assert corners_mm < 1e-4  # float32 in our header


def test_dcm2niix_makes_the_same_volume(made, folder: Path, tmp_path: Path) -> None:
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed")
    (tmp_path / "out").mkdir()
    words = [dcm2niix.bin, "-z", "n", "-f", "made", "-o", tmp_path / "out", tmp_path / "in"]
    subprocess.run(words, check=True, capture_output=True)
    theirs = nibabel.load(tmp_path / "out" / "made.nii")
    ours = read_t1_series(tmp_path / "in").image
    values, corners_mm = distances(ours, theirs.get_fdata(), theirs.affine)
    assert values == 0
    assert corners_mm < 0.005  # float32 in its header


@pytest.mark.parametrize(
    ("form", "syntax"),
    [
        ("classic", ImplicitVRLittleEndian),
        ("classic", ExplicitVRBigEndian),
        ("classic", DeflatedExplicitVRLittleEndian),
        ("classic", JPEGLSLossless),
        ("enhanced", ExplicitVRBigEndian),
        ("enhanced", RLELossless),
        ("enhanced", JPEG2000Lossless),
    ],
)
def test_transfer_syntaxes(made, slices, syntax: str, form: str, tmp_path: Path) -> None:
    slices = [enhanced(slices)] if form == "enhanced" else slices
    save(in_syntax(slices, syntax), tmp_path)
    assert distances(read_t1_series(tmp_path).image, *made)[0] == 0


def test_each_slice_has_its_own_rescaling(made, tmp_path: Path) -> None:
    slices = series(*made)
    for k, one in enumerate(slices):
        one.RescaleSlope, one.RescaleIntercept = str(0.5 + 0.25 * (k % 3)), str(k)
        block = one.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.0123)
    wanted = made[0] * (0.5 + 0.25 * (np.arange(len(slices)) % 3)) + np.arange(len(slices))
    for form in ([enhanced(slices)], slices):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        save(form, tmp_path / "in")
        assert distances(read_t1_series(tmp_path / "in").image, wanted, made[1])[0] < 1e-3


def test_a_zip_archive_stands_for_its_folder(made, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"export/{path.name}")
        archive.writestr("export/README.TXT", "exported")
    read = read_t1_series(tmp_path / "x.zip")
    assert distances(read.image, *made)[0] == 0
    assert "1 other file ignored" in read.source.took


def test_a_series_without_a_frame_of_reference_is_read_with_a_warning(made, tmp_path) -> None:
    slices = series(*made)
    for one in slices:
        del one.FrameOfReferenceUID
    for form in ([enhanced(slices)], slices):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        save(form, tmp_path / "in")
        source = read_t1_series(tmp_path / "in").source
        assert source.frame_of_reference_uid is None
        assert "no Frame of Reference UID" in source.warnings[0]


def test_a_damaged_slice_that_decodes_is_refused(slices, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (36, 32)).astype("<u2")
    slices[14].PixelData = noise.tobytes()
    save(slices, tmp_path)
    with pytest.raises(InputError, match=r"IM0015: looks damaged .* correlation"):
        read_t1_series(tmp_path)


def test_a_file_that_cannot_be_decoded_is_named(slices, tmp_path: Path) -> None:
    packed = in_syntax(slices, JPEGLSLossless)
    packed[7].PixelData = packed[7].PixelData[:20] + bytes(len(packed[7].PixelData) - 20)
    save(packed, tmp_path)
    with pytest.raises(InputError, match=r"IM0008: .*send it uncompressed|IM0008: .*damaged"):
        read_t1_series(tmp_path)


def test_what_counts_as_dicom(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no image")
    (tmp_path / "text" / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), tmp_path / "a.nii")
    assert is_dicom(folder)
    assert is_dicom(folder / "IM0001")
    assert not is_dicom(tmp_path / "text")
    assert not is_dicom(tmp_path / "a.nii")
    assert not is_dicom(tmp_path / "absent")


def test_results_are_called_by_a_hash_of_the_series(made, folder: Path, tmp_path: Path) -> None:
    label, took = DicomInput(folder).look()
    shutil.copytree(folder, tmp_path / "Somebody")
    assert DicomInput(tmp_path / "Somebody").look()[0] == label
    assert took.startswith(f'{folder}: took series 4 "T1_MPRAGE" (30 slices, 4 × 4 × 4 mm)')
    save(series(*made, salt="other"), tmp_path / "other")
    others = {
        DicomInput(tmp_path / "other").look()[0],
        DicomInput(folder, acquisition="1").look()[0],
        DicomInput(tmp_path / "absent").look()[0],
    }
    assert len(others | {label}) == 4
    for name in (*others, label):
        assert name.startswith("dicom-")
        assert len(name) == 14
        int(name[6:], 16)


def test_a_volume_that_is_no_head_is_refused_under_the_inputs_name(tmp_path: Path) -> None:
    save(series(*head((24, 24, 24), (2.0, 2.0, 2.0))), tmp_path)
    with pytest.raises(InputError, match="cannot hold a whole brain") as caught:
        DicomInput(tmp_path).t1("dicom-0")
    assert str(caught.value).startswith(f"{tmp_path}: ")
