"""A download of the archive, made from a table of its files; `make_loni` is the way in."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import nibabel
import numpy as np

SPACING = 8.0
SECRETS = ("SECRET", "19400823")
_XML = """<?xml version="1.0" encoding="UTF-8"?>
<idaxs xmlns="http://ida.loni.usc.edu"><project xmlns="">
<projectIdentifier>SECRET PROJECT</projectIdentifier>
<subject><subjectIdentifier>{subject}</subjectIdentifier><subjectSex>{sex}</subjectSex>
<subjectInfo item="name">SECRET^NAME</subjectInfo>
<visit><visitIdentifier>SECRET VISIT</visitIdentifier></visit>
<study><studyIdentifier>1</studyIdentifier><subjectAge>{age}</subjectAge>
<series><seriesIdentifier>{series}</seriesIdentifier><modality>{modality}</modality>
<dateAcquired>{date} 10:11:12.0</dateAcquired>
<comment>born 19400823</comment>
<imagingProtocol><imageUID>{image}</imageUID><description>{description}</description>
</imagingProtocol></series></study></subject></project></idaxs>
"""


def make_loni(tree: Path, out: Path, *, zipped: bool = False, shuffle: int | None = None) -> None:
    """Makes the files that `tree.tsv` lists, below `out`; each `part<n>` also as a zip instead.

    Values are image id mod 200 + slice in an ellipsoid, so that a mix-up shows. DICOM, NIfTI and
    XML hold planted secrets. `shuffle` seeds the order in which the files are made.
    """
    with tree.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    files: dict[str, bytes] = {}
    for row in rows:
        files |= _files_of(row)
    names = sorted(files)
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(names)
    for name in names:
        part, _, inside = name.partition("/")
        if zipped:
            out.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(out / f"{part}.zip", "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(inside, files[name])
        else:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(files[name])


def _files_of(row: dict[str, str]) -> dict[str, bytes]:
    path = row["path"]
    image = int(re.search(r"_[IDS](\d+)\.", path).group(1))
    if row["form"] == "xml":
        return {path: _xml(row, image)}
    slices, rows, columns = (int(n) for n in row["shape"].split("x"))
    frames = int(row["frames"] or 1)
    values = image % 200 + (row["defect"] == "other_content") * 50
    voxels = phantom(slices, rows, columns, frames, values)
    if row["form"] in ("nifti", "ecat"):
        seconds = int(row["frame_seconds"] or 300)
        content = nifti(voxels) if row["form"] == "nifti" else ecat(voxels, seconds)
        if row["defect"] == "truncated":
            content = content[: len(content) * 2 // 3]
        return {path: content}
    made = {}
    for number in range(frames * slices):
        if row["defect"] == "missing_slice" and number == frames * slices // 2:
            continue
        made[path.replace("*", str(number + 1))] = dicom(voxels, number, row, image)
    return made


def phantom(slices: int, rows: int, columns: int, frames: int, value: int) -> np.ndarray:
    """An ellipsoid: `[frames, slices, rows, columns]`, uint16."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (slices, rows, columns)), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.9
    volume = (value + 1 + np.arange(slices))[:, None, None] * inside
    return (volume[None] + 10 * np.arange(frames)[:, None, None, None] * inside).astype(np.uint16)


def nifti(voxels: np.ndarray) -> bytes:
    """One NIfTI file with planted secrets in its head."""
    data = np.moveaxis(voxels, 0, -1).transpose(2, 1, 0, 3)
    image = nibabel.Nifti1Image(
        np.squeeze(data, -1) if data.shape[-1] == 1 else data, np.diag([SPACING] * 3 + [1.0])
    )
    image.header["descrip"] = b"SECRET"
    image.header["aux_file"] = b"SECRET"
    image.header["db_name"] = b"SECRET"
    return image.to_bytes()


def ecat(voxels: np.ndarray, seconds: int) -> bytes:
    """One ECAT 7 file with planted secrets: main head, list of frames, and each with its head."""
    from nibabel.ecat import hdr_dtype, subhdr_dtype

    frames, slices, rows, columns = voxels.shape
    head = np.zeros((), hdr_dtype.newbyteorder(">"))
    head["magic_number"], head["sw_version"], head["file_type"] = b"MATRIX72v", 74, 7
    head["num_planes"], head["num_frames"], head["ecat_calibration_factor"] = slices, frames, 1
    head["patient_orientation"], head["isotope_name"] = 3, b"F-18"
    head["patient_name"], head["patient_id"], head["facility_name"] = (
        b"SECRET",
        b"19400823",
        b"SECRET",
    )
    blocks = -(-2 * slices * rows * columns // 512)
    listed = np.zeros((32, 4), ">i4")
    listed[0] = 31 - frames, 2, 0, frames
    bodies = b""
    for frame in range(frames):
        first = 3 + frame * (1 + blocks)
        listed[1 + frame] = 0x1010001 + frame, first, first + blocks, 1
        own = np.zeros((), subhdr_dtype.newbyteorder(">"))
        own["data_type"], own["num_dimensions"], own["scale_factor"] = 6, 3, 1
        own["x_dimension"], own["y_dimension"], own["z_dimension"] = columns, rows, slices
        for axis in "xyz":
            own[f"{axis}_pixel_size"] = SPACING / 10  # cm
        own["frame_start_time"] = (3000 + frame * seconds) * 1000
        own["frame_duration"], own["annotation"] = seconds * 1000, b"SECRET"
        bodies += own.tobytes().ljust(512, b"\0")
        bodies += voxels[frame].astype(">i2").tobytes().ljust(512 * blocks, b"\0")
    return head.tobytes().ljust(512, b"\0") + listed.tobytes() + bodies


def dicom(voxels: np.ndarray, number: int, row: dict[str, str], image: int) -> bytes:
    """One slice, in explicit little endian, with planted secrets."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    frames, slices, rows, columns = voxels.shape
    frame, k = divmod(number, slices)
    sop = {"PT": "1.2.840.10008.5.1.4.1.1.128"}.get(
        row["header_modality"], "1.2.840.10008.5.1.4.1.1.4"
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop
    meta.MediaStorageSOPInstanceUID = f"2.25.{image}.{number + 1}"
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    data.Modality = row["header_modality"]
    data.PatientName, data.PatientBirthDate = "SECRET^NAME", "19400823"
    data.InstitutionName, data.StudyDescription = "SECRET HOSPITAL", "SECRET^STUDY"
    data.PatientID = path_part(row["path"], 2)
    data.SeriesDescription = path_part(row["path"], 3)
    day = row["header_date"].replace("-", "")
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = day
    seconds = int(row["frame_seconds"] or 300)
    start = 36000 + frame * seconds
    data.StudyTime = data.SeriesTime = "100000"
    data.AcquisitionTime = f"{start // 3600:02d}{start // 60 % 60:02d}{start % 60:02d}"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"2.25.{image}", f"2.25.{image}.0"
    if row.get("defect") == "series_of_frames":
        data.SeriesInstanceUID = f"2.25.{image}.1{frame}"
    data.FrameOfReferenceUID = f"2.25.{image}.9"
    data.StudyID, data.SeriesNumber, data.AcquisitionNumber = "1", 1, frame + 1
    data.InstanceNumber = number + 1
    data.ImagePositionPatient = [0, 0, SPACING * k]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [SPACING, SPACING], SPACING
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.ImageType = ["ORIGINAL", "PRIMARY"]
    if row["header_modality"] == "PT":
        data.NumberOfSlices, data.NumberOfTimeSlices = slices, frames
        data.ImageIndex = number + 1
        data.SeriesType = ["DYNAMIC" if frames > 1 else "STATIC", "IMAGE"]
        data.ActualFrameDuration = seconds * 1000
        data.FrameReferenceTime = (frame + 0.5) * seconds * 1000
        data.Units = "BQML"
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.DecayCorrection = "START"
    else:
        data.EchoTime, data.RepetitionTime, data.InversionTime = 3 + 2 * frame, 2300, 900
        data.ScanningSequence, data.MRAcquisitionType = "GR", "3D"
        data.MagneticFieldStrength = 3
    data.PixelData = voxels[frame, k].tobytes()
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


def path_part(path: str, number: int) -> str:
    parts = path.split("/")
    return parts[number] if len(parts) > number else ""


def _xml(row: dict[str, str], image: int) -> bytes:
    name = re.sub(r"_[IDS]\d+$", "", Path(row["path"]).stem)
    subject = "_".join(name.split("_")[1:4])
    description = "_".join(name.split("_")[4:])
    return _XML.format(
        subject=subject, description=description, image=image, series=image % 1000,
        date=row["header_date"], sex=row["sex"], age=row["age"],
        modality="PET" if re.search("AV45|FBB|AV1451|PIB|FDG|PET", name) else "MRI",
    ).encode()  # fmt: skip
