"""Makes DICOM series in memory from a volume: classic or Enhanced MR, in any plane and syntax.

Everything in their headers is invented. `head()` is a volume that passes for a T1 by its numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Of the volume's axes (right, anterior, superior): which one counts columns, rows and slices of a
# plane, and in which direction.
PLANES = {
    "axial": ((0, -1), (1, -1), (2, 1)),
    "coronal": ((0, -1), (2, -1), (1, 1)),
    "sagittal": ((1, -1), (2, -1), (0, 1)),
}


def head(
    shape: tuple[int, int, int] = (32, 36, 30), voxel_mm: Sequence[float] = (4.0, 4.0, 4.0)
) -> tuple[np.ndarray, np.ndarray]:
    """A head of whole numbers up to 4000 with an uneven inside, `[X, Y, Z]`, and its oblique affine
    to RAS+ in mm."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    x, y, z = axes
    ball = (x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.95) ** 2
    inside = 2200 + 900 * np.sin(3 * x + y) * np.cos(4 * y - z) + 600 * np.sin(5 * z + 2 * x)
    values = np.where(ball < 0.75, inside, np.where(ball < 1, 3800, 12 + 8 * np.sin(9 * x * y)))
    tilt, turn = np.deg2rad([7.0, 4.0])
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ np.array(about_z) @ np.diag(voxel_mm)
    affine[:3, 3] = affine[:3, :3] @ -(np.array(shape) - 1) / 2 + (2.5, -7.25, 11.125)
    return np.round(np.clip(values, 0, 4000)), affine


def in_plane(
    volume: np.ndarray, affine: np.ndarray, plane: str = "axial"
) -> tuple[np.ndarray, np.ndarray]:
    """`[column, row, slice]` and its affine to LPS+ in mm."""
    lps = LPS @ affine
    order = [axis for axis, _ in PLANES[plane]]
    turned, matrix = volume.transpose(order), lps[:, [*order, 3]].copy()
    for place, (_, direction) in enumerate(PLANES[plane]):
        if direction < 0:
            matrix[:, 3] += matrix[:, place] * (turned.shape[place] - 1)
            matrix[:, place] *= -1
            turned = np.flip(turned, place)
    return np.ascontiguousarray(turned), matrix


def series(
    volume: np.ndarray, affine: np.ndarray, plane: str = "axial", salt: str = "t1", **header: Any
) -> list[Dataset]:
    """One classic MR instance for each slice.

    Args:
        volume: `[X, Y, Z]`, 0 … 4095.
        affine: to RAS+ in mm.
        salt: makes the UIDs of the series; `study` (a keyword) those of the study.
        header: values of header elements by keyword in the place of the usual ones.
    """
    values, matrix = in_plane(volume, affine, plane)
    study = header.pop("study", "study")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = matrix[:3, :3] / spacing
    return [
        _slice(values[:, :, k], matrix, cosines, spacing, k, salt, study, header)
        for k in range(values.shape[2])
    ]


def enhanced(slices: Sequence[Dataset], sop_class: str = ENHANCED_MR) -> Dataset:
    """One Enhanced MR instance of the same slices, as frames in their order."""
    first = slices[0]
    made = Dataset()
    for element in first:
        if element.keyword not in _OF_A_FRAME:
            made[element.tag] = copy.deepcopy(element)
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = generate_uid(entropy_srcs=[first.SOPInstanceUID, "enhanced"])
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    made.NumberOfFrames = len(slices)
    shared = Dataset()
    shared.PlaneOrientationSequence = [
        _dataset(ImageOrientationPatient=first.ImageOrientationPatient)
    ]
    shared.PixelMeasuresSequence = [
        _dataset(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    ]
    shared.MREchoSequence = [_dataset(EffectiveEchoTime=float(first.EchoTime))]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [_frame(k, one) for k, one in enumerate(slices)]
    made.PixelData = b"".join(one.PixelData for one in slices)
    made["PixelData"].VR = "OW"
    made.file_meta = copy.deepcopy(first.file_meta)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def in_syntax(slices: Iterable[Dataset], syntax: str) -> list[Dataset]:
    """The same in another transfer syntax; packed ones by pydicom's encoders."""
    made = []
    for one in slices:
        one = copy.deepcopy(one)
        if syntax in NATIVE:
            if syntax == ExplicitVRBigEndian:
                one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
            one.file_meta.TransferSyntaxUID = UID(syntax)
        else:
            one.compress(syntax, generate_instance_uid=False)
        made.append(one)
    return made


def save(slices: Iterable[Dataset], folder: Path, name: str = "IM{:04d}") -> list[Path]:
    """Writes them to files `IM0001` …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(slices, start=1):
        paths.append(folder / name.format(number))
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        dcmwrite(paths[-1], one, enforce_file_format=True)
    return paths


_OF_A_FRAME = (
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelData",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "SliceThickness",
)


def _slice(
    pixels: np.ndarray,
    matrix: np.ndarray,
    cosines: np.ndarray,
    spacing: np.ndarray,
    number: int,
    salt: str,
    study: str,
    header: dict[str, Any],
) -> Dataset:
    one = _dataset(
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        SOPClassUID=MR,
        SOPInstanceUID=generate_uid(entropy_srcs=[study, salt, str(number)]),
        StudyDate="20200102",
        SeriesDate="20200102",
        AcquisitionDate="20200102",
        ContentDate="20200102",
        StudyTime="101500",
        SeriesTime="102000",
        AcquisitionTime="102000",
        ContentTime="102500",
        AccessionNumber="A1",
        Modality="MR",
        Manufacturer="Maker",
        ReferringPhysicianName="",
        StudyDescription="BRAIN",
        SeriesDescription="T1_MPRAGE",
        ManufacturerModelName="Scanner",
        PatientName="Made^Up",
        PatientID="P1",
        PatientBirthDate="19500101",
        PatientSex="F",
        PatientAge="070Y",
        ScanningSequence=["GR", "IR"],
        SequenceVariant=["SP", "MP"],
        ScanOptions="",
        MRAcquisitionType="3D",
        SliceThickness=f"{spacing[2]:.6g}",
        RepetitionTime="2300",
        EchoTime="2.98",
        EchoNumbers="1",
        InversionTime="900",
        MagneticFieldStrength="3",
        EchoTrainLength="1",
        ProtocolName="T1_MPRAGE",
        PatientPosition="HFS",
        StudyInstanceUID=generate_uid(entropy_srcs=[study, "study"]),
        SeriesInstanceUID=generate_uid(entropy_srcs=[study, salt, "series"]),
        StudyID="1",
        SeriesNumber="4",
        AcquisitionNumber="1",
        InstanceNumber=str(number + 1),
        ImagePositionPatient=_decimals((matrix @ [0, 0, number, 1])[:3]),
        ImageOrientationPatient=_decimals([*cosines[:, 0], *cosines[:, 1]]),
        FrameOfReferenceUID=generate_uid(entropy_srcs=[study, "frame"]),
        PositionReferenceIndicator="",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=pixels.shape[1],
        Columns=pixels.shape[0],
        PixelSpacing=_decimals([spacing[1], spacing[0]]),
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
    )
    one.PixelData = pixels.T.astype("<u2").tobytes()
    one["PixelData"].VR = "OW"
    for keyword, value in header.items():
        setattr(one, keyword, value)
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.ImplementationClassUID = "2.25.1"
    return one


def _frame(number: int, one: Dataset) -> Dataset:
    made = _dataset()
    made.FrameContentSequence = [
        _dataset(StackID="1", InStackPositionNumber=number + 1, FrameAcquisitionNumber=1)
    ]
    made.PlanePositionSequence = [_dataset(ImagePositionPatient=one.ImagePositionPatient)]
    made.PixelValueTransformationSequence = [
        _dataset(
            RescaleIntercept=one.get("RescaleIntercept", "0"),
            RescaleSlope=one.get("RescaleSlope", "1"),
            RescaleType="US",
        )
    ]
    return made


def _dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _decimals(values: Iterable[float]) -> list[str]:
    """At most the 16 characters that a decimal string may have."""
    return [f"{value:.10g}"[:16] for value in values]
