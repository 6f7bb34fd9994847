"""A T1 series as a scanner would have sent it, small and made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset

from mri2pet.dicom.source import DicomT1, Source, SourceFrame

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
ROOT = "1.2.826.0.1.3680043.8.498."
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Doe^Jane",
    "PatientID": "P-0001",
    "IssuerOfPatientID": "HERE",
    "PatientBirthDate": "19660101",
    "PatientSex": "F",
    "PatientAge": "047Y",
    "PatientWeight": "70",
    "StudyInstanceUID": f"{ROOT}1",
    "StudyDate": "20130717",
    "StudyTime": "141500",
    "StudyID": "S1",
    "AccessionNumber": "ACC0001",
    "ReferringPhysicianName": "Ref^Erring",
    "StudyDescription": "BRAIN",
}
SERIES = {
    "SeriesInstanceUID": f"{ROOT}2",
    "SeriesNumber": 4,
    "SeriesDate": "20130717",
    "SeriesTime": "142035",
    "SeriesDescription": "T1_MPRAGE",
    "Modality": "MR",
    "Manufacturer": "TESTVENDOR",
    "ManufacturerModelName": "Tester",
    "DeviceSerialNumber": "4711",
    "SoftwareVersions": "V1",
    "FrameOfReferenceUID": f"{ROOT}3",
    "PositionReferenceIndicator": "",
    "OperatorsName": "Op^Erator",
    "InstitutionName": "Clinic",
}
# RAS directions of an index along a row, down a column, and of the slices.
PLANES = {
    "axial": np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]]).T,
    "coronal": np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]).T,
    "sagittal": np.array([[0, -1.0, 0], [0, 0, -1], [1, 0, 0]]).T,
}


def affine_of(plane: str, spacing: tuple[float, float, float], turn_deg: float) -> np.ndarray:
    """[column, row, slice] to RAS mm, turned about an axis that no plane contains."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    angle = np.deg2rad(turn_deg)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = turn @ PLANES[plane] * np.asarray(spacing)
    affine[:3, 3] = (37.123456, -51.7, 12.25)
    return affine


def make_series(
    folder: Path, values: np.ndarray, affine: np.ndarray, *, enhanced: bool = False, **header: Any
) -> list[Path]:
    """Files of a series with `values` [column, row, slice] that lie by `affine` (RAS, mm)."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    stored = np.rint(values).astype("<i2")
    slices = []
    for k in range(values.shape[2]):
        place = Dataset()
        place.ImagePositionPatient = [digits(x) for x in (lps @ [0, 0, k, 1])[:3]]
        slices.append(place)
    directions = [digits(x) for x in (lps[:3, :2] / spacing[:2]).T.ravel()]
    measures = {
        "PixelSpacing": [digits(spacing[1]), digits(spacing[0])],
        "SliceThickness": digits(spacing[2]),
    }
    if enhanced:
        whole = _new(ENHANCED_MR, f"{ROOT}100", header)
        whole.NumberOfFrames = len(slices)
        shared = Dataset()
        shared.PixelMeasuresSequence = [_item(measures)]
        shared.PlaneOrientationSequence = [_item({"ImageOrientationPatient": directions})]
        whole.SharedFunctionalGroupsSequence = [shared]
        whole.PerFrameFunctionalGroupsSequence = [
            _item({"PlanePositionSequence": [place]}) for place in slices
        ]
        _add_pixels(whole, stored.transpose(2, 1, 0))
        return [_written(whole, folder / "enhanced")]
    paths = []
    for k, place in enumerate(slices):
        each = _new(MR, f"{ROOT}{100 + k}", header)
        each.update(place)
        each.update(_item({**measures, "ImageOrientationPatient": directions}))
        each.InstanceNumber, each.PatientPosition = len(slices) - k, "HFS"
        _add_pixels(each, stored[:, :, k].T)
        paths.append(_written(each, folder / f"slice{k}"))
    return paths


def read_series(paths: list[Path], affine: np.ndarray) -> DicomT1:
    """What a reader makes of the files of `make_series`."""
    frames, values = [], []
    for path in paths:
        one = dcmread(path)
        pixels = one.pixel_array.astype(np.float32)
        del one.PixelData
        if "PerFrameFunctionalGroupsSequence" in one:
            for number, groups in enumerate(one.PerFrameFunctionalGroupsSequence, start=1):
                position = groups.PlanePositionSequence[0].ImagePositionPatient
                frames.append(SourceFrame(one, number, tuple(map(str, position))))
                values.append(pixels[number - 1])
        else:
            frames.append(SourceFrame(one, None, tuple(map(str, one.ImagePositionPatient))))
            values.append(pixels)
    first = frames[0].dataset
    holder = measures = first
    if frames[0].frame_number is not None:
        (shared,) = first.SharedFunctionalGroupsSequence
        holder = shared.PlaneOrientationSequence[0]
        measures = shared.PixelMeasuresSequence[0]
    data = np.stack(values).transpose(2, 1, 0)
    source = Source(
        frames=tuple(frames),
        orientation=tuple(map(str, holder.ImageOrientationPatient)),
        pixel_spacing=tuple(map(str, measures.PixelSpacing)),
        slice_spacing_mm=float(np.linalg.norm(affine[:3, 2])),
        rows=data.shape[1],
        columns=data.shape[0],
        affine=affine,
        frame_of_reference_uid=first.get("FrameOfReferenceUID"),
        took="took series 4",
        warnings=(),
    )
    return DicomT1(nibabel.Nifti1Image(data, affine), source)


def digits(number: float) -> str:
    return f"{number:.10g}"[:16]


def _new(sop_class: str, uid: str, header: dict[str, Any]) -> Dataset:
    made = _item({**PATIENT, **SERIES, **header})
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    made.add_new(0x00191008, "LO", "private")
    return made


def _item(elements: dict[str, Any]) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def _add_pixels(made: Dataset, stored: np.ndarray) -> None:
    made.Rows, made.Columns = stored.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.PixelData = np.ascontiguousarray(stored).tobytes()


def _written(made: Dataset, path: Path) -> Path:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dcmwrite(path, made, enforce_file_format=True)
    return path
