"""The awkward inputs of the shared folder: each is read right, or refused with its numbers."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri2pet.dicom.collect import collect
from mri2pet.dicom.decode import decode
from mri2pet.dicom.reading import is_dicom, read_t1_series
from mri2pet.dicom.stack import stack
from mri2pet.errors import InputError

from .conftest import distances

# Beside the volume itself: what the sentence on the series taken says.
READ = {
    "ok_big_endian": "",
    "ok_deflated": "",
    "ok_each_file_twice": "20 duplicate files ignored",
    "ok_enhanced_mr": "64 slices",
    "ok_j2k_lossless": "",
    "ok_japanese_name_and_hostile_id": "",
    "ok_jpeg_lossless_p14": "",
    "ok_jpeg_lossless_sv1": "",
    "ok_jpeg_ls_lossless": "",
    "ok_mixed_study": "took series 4 .*not taken: 1 localizer, 5 FLAIR .TE 120 ms., 9 with "
    "contrast agent, 10 screen save; 2 other files ignored",
    "ok_philips_scale_slopes": "",
    "ok_positions_rounded_to_10_um": "",
    "ok_reversed_instance_numbers": "",
    "ok_rle": "",
    "ok_sagittal": "54 slices",
    "ok_shuffled_names": "",
    "ok_zip": "2 other files ignored",
}
REFUSED = {
    "real_hyperfine": r"series 10: not T1-weighted \(TE 194 ms\)",
    "real_jpegls": r"series 4: not T1-weighted \(TE 394 ms\)",
    "real_philips_enhanced": "series 301: 8 slices",
    "refuse_ct": "series 4: modality CT",
    "refuse_deflated_bomb": "inflates from 131276 bytes to more than",
    "refuse_flair_only": r"series 4: FLAIR \(TE 120 ms\)",
    "refuse_gantry_tilt_15deg": "at 15.0 degrees",
    "refuse_header_claims_500_TB": "60000 slices that take more than 4 GiB",
    "refuse_irregular_spacing": "irregular spacing: 2.77 to 4.86 mm",
    "refuse_localizer_inside_series": "1 of 29 slices of another orientation.* IM0029",
    "refuse_magnitude_and_phase": "ImageType M and P",
    "refuse_missing_slices": "misses 4 slices, after slices 20 and 39 of those present",
    "refuse_no_positions": "28 of 28 slices without a position",
    "refuse_own_synthetic_pet": "series 4: synthetic",
    "refuse_single_slice": "series 4: 1 slice",
    "refuse_truncated_pixel_data": "IM0011 promises 6912 bytes of pixels and has 3912",
    "refuse_two_acquisitions": "AcquisitionNumber 1 and 2; take one with --acquisition",
    "refuse_two_matrix_sizes": "60 and 64 rows",
    "refuse_two_patients_one_series_uid": r"2 patients \(its files differ in PatientID\)",
    "refuse_zip_bomb": "would inflate from 0.3 to 300 MiB",
    "refuse_zip_slip": "names a place outside of its archive",
    "warn_jpeg_lossy_12bit": "JPEG Extended.*send it uncompressed",
}
PEOPLE = ("Doe", "Jane", "Roe", "Richard", "Yamada", "Tarou", "19660101", "ACC0001", "$(id)")
VALUES = {"ok_philips_scale_slopes": 1.2}


@pytest.fixture(scope="module")
def awkward(shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Unpacks a case."""
    packed = shared_data / "dicom_awkward"
    if not packed.is_dir():
        pytest.skip(f"no awkward DICOM inputs in {packed}")

    def unpack(case: str) -> Path:
        folder = tmp_path_factory.mktemp("awkward")
        with tarfile.open(packed / f"{case}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return folder / case

    return unpack


@pytest.fixture(scope="module")
def truth(shared_data: Path):
    """Values and affine that every case shows that is read."""
    image = nibabel.load(shared_data / "dicom_awkward" / "expected_axial.nii.gz")
    return image.get_fdata(), image.affine


@pytest.mark.parametrize("case", READ)
def test_is_read_right(awkward, truth, case: str) -> None:
    path = awkward(case)
    assert is_dicom(path)
    read = read_t1_series(path)
    values, corners_mm = distances(read.image, *truth)
    assert values < VALUES.get(case, 1)
    assert corners_mm < 0.02
    _says(read.source.took, READ[case])
    assert not any(word in read.source.took for word in PEOPLE)


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(awkward, case: str) -> None:
    path = awkward(case)
    assert is_dicom(path)
    with pytest.raises(InputError) as caught:
        read_t1_series(path)
    _says(str(caught.value), REFUSED[case])
    assert str(caught.value).startswith(f"{path}: ")
    assert not any(word in str(caught.value) for word in PEOPLE)
    assert not Path("/tmp/dicom_zip_slip.dcm").exists()


def test_one_of_two_acquisitions_is_taken_when_named(awkward) -> None:
    read = read_t1_series(awkward("refuse_two_acquisitions"), acquisition="2")
    assert read.image.shape == (54, 64, 28)


@pytest.mark.parametrize("case", ["real_philips_enhanced", "real_hyperfine", "real_jpegls"])
def test_real_images_that_are_no_t1_have_the_geometry_of_dcm2niix(
    awkward, tmp_path: Path, case: str
) -> None:
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed")
    path = awkward(case)
    (series,) = collect(path).series
    stacked = stack("", series)
    ours = nibabel.Nifti1Image(decode(stacked), stacked.affine)
    words = [dcm2niix.bin, "-p", "n", "-z", "n", "-f", "made", "-o", tmp_path, path]
    subprocess.run(words, check=True, capture_output=True)
    (made,) = tmp_path.glob("*.nii")
    theirs = nibabel.load(made)
    values, corners_mm = distances(ours, theirs.get_fdata(), theirs.affine)
    assert values <= 1e-3 * np.abs(theirs.get_fdata()).max()
    assert corners_mm < 1e-3


def _says(sentence: str, pattern: str) -> None:
    assert re.search(pattern, sentence), sentence
