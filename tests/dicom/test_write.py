"""The written instances: what is in them, what is not, and what other programs read from them."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from shutil import which
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation

from mri2pet import WARNING
from mri2pet.dicom.quantise import quantise
from mri2pet.dicom.reading import read_t1_series
from mri2pet.dicom.report import pdf_file, sc_file
from mri2pet.dicom.uids import Identity, facts_of, file_name
from mri2pet.dicom.write import pet_files, sd_files
from mri2pet.errors import InputError

from . import readers
from .make_series import enhanced as as_enhanced
from .make_series import head, save
from .make_series import series as slices_of
from .results import made_sidecar

PATIENT_COPIED = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "SpecificCharacterSet",
)  # fmt: skip
USUAL = {
    "IssuerOfPatientID": "HERE", "PatientWeight": "70", "OperatorsName": "Op^Erator",
    "ReferringPhysicianName": "Ref^Erring", "InstitutionName": "Clinic", "StationName": "MR1",
    "DeviceSerialNumber": "4711", "SoftwareVersions": "V1",
}  # fmt: skip
NEVER = (
    "RadionuclideTotalDose", "RadiopharmaceuticalStartTime", "Radiopharmaceutical",
    "ReconstructionMethod", "AttenuationCorrectionMethod", "DoseCalibrationFactor",
    "OperatorsName", "InstitutionName", "PatientPosition", "Laterality", "StationName",
    "AcquisitionNumber", "EchoTime", "RescaleType", "InstanceCreationDate",
)  # fmt: skip
# What may differ: the DICOM of 2022 did not know Synthetic Data.
UNKNOWN_TO_VALIDATOR = "(0008,001c)"


@pytest.fixture
def sidecar() -> dict[str, Any]:
    return made_sidecar()


@pytest.fixture
def series(tmp_path: Path):
    """Makes a series on a plane, with header elements in the place of the usual ones or, where
    they are None, without them; and a PET on its slices."""

    def make(plane: str = "axial", *, enhanced: bool = False, **header: Any):
        given = {name: value for name, value in header.items() if value is not None}
        with disable_value_validation():
            slices = slices_of(*head((21, 24, 20), (3.9, 4.0, 3.7)), plane, **USUAL | given)
        for absent in header.keys() - given.keys():
            for one in slices:
                delattr(one, absent)
        save([as_enhanced(slices)] if enhanced else slices, tmp_path / "in")
        source = read_t1_series(tmp_path / "in").source
        random = np.random.default_rng(5)
        pet = random.random((source.columns, source.rows, len(source.frames))) * 2.7
        pet[:3] = 0
        return source, pet.astype(np.float32)

    return make


def write(files: dict[str, Any], folder: Path) -> list[Dataset]:
    folder.mkdir(exist_ok=True)
    for name, writer in files.items():
        with (folder / name).open("wb") as stream:
            writer(stream)
    return [dcmread(folder / name) for name in files]


def identity_of(source: Any, sidecar: dict[str, Any]) -> Identity:
    return Identity.of(source, facts_of(sidecar, overlay=False))


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "Enhanced"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_others_read_the_same_values_at_the_same_place(series, sidecar, tmp_path, plane, enhanced):
    source, pet = series(plane, enhanced=enhanced)
    write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "out")
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(pet, source.affine))
    half_step = float(quantise(pet).slope) / 2
    for name, read in readers.READERS.items():
        found = nibabel.as_closest_canonical(read(tmp_path / "out", tmp_path / name))
        assert found.shape == expected.shape, name
        assert readers.apart_mm(found, expected) <= readers.CORNERS_MM[name], name
        # dcm2niix keeps the stored integers, with the slope rounded to float32.
        rounding = 3e-7 if name == "dcm2niix" else 1e-9
        worst = np.abs(found.get_fdata() - expected.get_fdata()).max()
        assert worst <= half_step + rounding, name


def test_the_place_is_in_the_digits_of_the_source(series, sidecar, tmp_path):
    source, pet = series()
    first, *_ = write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "o")
    assert tuple(map(str, first.ImagePositionPatient)) == source.frames[0].position
    assert tuple(map(str, first.ImageOrientationPatient)) == source.orientation
    assert tuple(map(str, first.PixelSpacing)) == source.pixel_spacing
    assert str(first.SliceThickness) == "3.7"


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "Enhanced"])
def test_attributes(series, sidecar, tmp_path, enhanced):
    source, pet = series(
        enhanced=enhanced, PatientIdentityRemoved="YES", DeidentificationMethod="M"
    )
    written = write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "out")
    first, of_source = written[3], source.frames[3].dataset
    for keyword in (*PATIENT_COPIED, "PatientIdentityRemoved", "DeidentificationMethod"):
        assert first[keyword].value == of_source[keyword].value, keyword
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.128"
    assert (first.Modality, first.SeriesNumber, first.InstanceNumber) == ("PT", 9004, 4)
    assert list(first.ImageType) == ["DERIVED", "PRIMARY", "SYNTHETIC"]
    assert first[0x0008001C].value == "YES"
    assert first.Units == "NONE"
    assert first.FrameOfReferenceUID == of_source.FrameOfReferenceUID
    assert (first.Manufacturer, first.DeviceSerialNumber) == ("The mri2pet contributors", "none")
    ours, scanner = first.ContributingEquipmentSequence
    assert (ours.PurposeOfReferenceCodeSequence[0].CodeValue, scanner.Manufacturer) == (
        "109100",
        "Maker",
    )
    (image,) = first.SourceImageSequence
    assert image.ReferencedSOPInstanceUID == of_source.SOPInstanceUID
    assert image.get("ReferencedFrameNumber") == (4 if enhanced else None)
    assert first.DerivationDescription.startswith(WARNING)
    assert "2" * 64 in first.DerivationDescription
    assert "0.80 SUVR where 1" in first.DerivationDescription
    assert len(first.RadiopharmaceuticalInformationSequence) == 0
    assert (first.SeriesDate, first.ContentTime) == ("20200102", "102000")
    assert len(first.PatientOrientationCodeSequence) == 1
    assert len({one.RescaleSlope for one in written}) == 1
    lying = [one for keyword in NEVER for one in written if keyword in one]
    assert not lying
    assert not [e for one in written for e in one if e.tag.is_private]
    for element in first.iterall():
        if element.VR == "LO":
            assert len(str(element.value)) <= 64, element.keyword


def test_long_and_foreign_words_are_cut(series, sidecar, tmp_path):
    source, pet = series()
    sidecar["model"]["name"] = "Modell–Ä\\" + "x" * 200
    sidecar["warnings"] = ["It is doubtful, and ≥ 3 mm off. " * 60]
    first, *_ = write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "o")
    assert len(first.DerivationDescription) <= 1024
    assert first.DerivationDescription.isascii()
    assert first.DerivationDescription.endswith("...")


def test_the_spread_is_another_series(series, sidecar, tmp_path):
    source, pet = series()
    identity = identity_of(source, sidecar)
    mean, *_ = write(pet_files(source, pet, sidecar, identity), tmp_path / "out")
    spread, *_ = write(sd_files(source, pet / 9, sidecar, identity), tmp_path / "out")
    assert mean.SeriesInstanceUID != spread.SeriesInstanceUID
    assert mean.SeriesNumber != spread.SeriesNumber
    assert "SD of 2 samples" in spread.SeriesDescription
    assert "not an error bar" in spread.DerivationDescription


def test_equal_results_are_equal_bytes_and_another_model_is_another_series(
    series, sidecar, tmp_path
):
    source, pet = series()
    identity = identity_of(source, sidecar)
    write(pet_files(source, pet, sidecar, identity), tmp_path / "one")
    write(pet_files(source, pet, sidecar, identity), tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    other = identity_of(source, sidecar | {"model": {"name": "small", "sha256": "3" * 64}})
    assert other.series("pet") != identity.series("pet")
    slower = {**sidecar["settings"], "steps": 3}
    assert identity_of(source, sidecar | {"settings": slower}).series("pet") != other.series("pet")
    # What only the report shows leaves the PET as it is.
    asked = {**sidecar["settings"], "quantification": {"centiloid": "x"}}
    again = identity_of(source, sidecar | {"settings": asked})
    assert again.series("pet") == identity.series("pet")
    assert again.series("pdf") != identity.series("pdf")


def test_a_late_slice_is_another_series(series, sidecar):
    from dataclasses import replace

    source, _ = series()
    fewer = replace(source, frames=source.frames[1:])
    assert identity_of(fewer, sidecar).series("pet") != identity_of(source, sidecar).series("pet")


def test_names_of_files_are_hashes(series, sidecar, tmp_path):
    source, pet = series()
    first, *_ = write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "o")
    assert Path(first.filename).name == file_name(first.SOPInstanceUID)
    assert len(Path(first.filename).stem) == 16
    assert first.SOPInstanceUID.startswith("2.25.")
    assert first.SOPInstanceUID.is_valid


def test_a_frame_of_reference_is_made_up_where_there_is_none(series, sidecar, tmp_path):
    source, pet = series(FrameOfReferenceUID=None)
    assert source.frame_of_reference_uid is None
    written = write(pet_files(source, pet, sidecar, identity_of(source, sidecar)), tmp_path / "out")
    (uid,) = {one.FrameOfReferenceUID for one in written}
    assert uid.startswith("2.25.")


def test_anonymous_and_broken_headers_are_written_as_they_are(series, sidecar, tmp_path):
    source, pet = series(
        SpecificCharacterSet="ISO_IR 999",
        PatientName="Müller^Jürgen".encode("latin1"),
        PatientAge="47 years, MARKER",
        StudyDate=None,
        SeriesDate=None,
        AcquisitionDate=None,
        ContentDate=None,
        SeriesNumber=None,
        Manufacturer=None,
        AccessionNumber=None,
        LossyImageCompression="01",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = pet_files(source, pet, sidecar, identity_of(source, sidecar))
        name, write_one = next(iter(files.items()))
        with (tmp_path / name).open("wb") as stream:
            write_one(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = dcmread(tmp_path / name)
        assert read.get_item("PatientName").value.rstrip() == "Müller^Jürgen".encode("latin1")
        assert read.PatientAge == "47 years, MARKER"
    assert (read.SeriesDate, read.SeriesNumber, read.AccessionNumber) == ("19000101", 9000, "")
    assert read.ContributingEquipmentSequence[1].Manufacturer == "unknown"
    assert read.LossyImageCompression == "01"


def test_an_overlay_is_drawn_where_it_is_asked_for(series, sidecar, tmp_path):
    source, pet = series()
    identity = identity_of(source, sidecar)
    first, *_ = write(pet_files(source, pet, sidecar, identity, overlay=True), tmp_path / "out")
    assert 10 < first.overlay_array(0x6000).sum() < 21 * 24 / 2


def test_values_that_are_no_numbers_are_refused(series, sidecar):
    source, pet = series()
    pet[5, 5, 5] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        pet_files(source, pet, sidecar, identity_of(source, sidecar))


@pytest.mark.parametrize("peak", [0.0, 1e-6, 2.7, 4321.0])
def test_quantised_to_half_a_step(peak):
    values = np.linspace(-peak / 3, peak, 1001).astype(np.float32)
    whole = quantise(values)
    assert len(whole.slope) <= 16
    slope = float(whole.slope)
    assert np.abs(whole.stored * slope - values).max() <= slope / 2 + 1e-9
    assert whole.stored.max() == (32767 if peak else 0)


def validated(tmp_path: Path, files: dict[str, Any], sample: int = 2) -> None:
    """No word of dciodvfy but on Synthetic Data, and dcmdump reads all."""
    if which("dciodvfy") is None or which("dcmdump") is None:
        pytest.skip("dciodvfy (dicom3tools) and dcmdump (dcmtk) are not installed")
    write(files, tmp_path / "out")
    paths = sorted((tmp_path / "out").iterdir())
    for path in paths[:sample]:
        found = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        lines = (found.stdout + found.stderr).splitlines()
        wrong = [x for x in lines if x.startswith(("Error", "Warning"))]
        assert [x for x in wrong if UNKNOWN_TO_VALIDATOR not in x] == []
    subprocess.run(["dcmdump", "+E", *paths], check=True, capture_output=True)


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "Enhanced"])
@pytest.mark.parametrize("kind", ["pet", "sd", "pdf", "sc", "overlay"])
def test_a_validator_finds_no_fault(series, sidecar, tmp_path, kind, enhanced):
    source, pet = series(enhanced=enhanced)
    identity = identity_of(source, sidecar)
    files = {
        "pet": lambda: pet_files(source, pet, sidecar, identity),
        "overlay": lambda: pet_files(source, pet, sidecar, identity, overlay=True),
        "sd": lambda: sd_files(source, pet, sidecar, identity),
        "pdf": lambda: pdf_file(source, b"%PDF-1.4 odd", identity, "0.1.0"),
        "sc": lambda: sc_file(source, np.full((20, 30, 3), 9, np.uint8), identity, "0.1.0"),
    }
    validated(tmp_path, files[kind]())
