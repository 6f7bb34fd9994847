"""What the heads of an image's files say, without its voxels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mri2pet.errors import UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

_DICOM_HEAD = 1 << 20
_TAGS = [
    "Modality",
    "AcquisitionDate",
    "SeriesDate",
    "StudyDate",
    "InstanceNumber",
    "NumberOfTimeSlices",
    "NumberOfSlices",
    "ActualFrameDuration",
    "NumberOfFrames",
    "MagneticFieldStrength",
    "RadiopharmaceuticalInformationSequence",
    "PatientID",
    "Rows",
    "Columns",
    "PixelSpacing",
]


@dataclass(frozen=True, slots=True)
class Head:
    """'' where a head says nothing. `fault` is a reason of the table, with a sentence in `note`.

    `person` is what stands as the patient's id, only to be compared with the study's code.
    """

    modality: str = ""
    date: str = ""
    field_strength: str = ""
    frames: str = ""
    frame_seconds: str = ""
    tracer: str = ""
    person: str = ""
    fault: str = ""
    note: str = ""


def nifti_head(content: bytes, size: int, packed: bool) -> Head:
    """The head of a NIfTI file of `size` bytes: its first 352 bytes tell how long it must be."""
    import nibabel
    import numpy as np

    try:
        kind = nibabel.Nifti2Header if content[:4] in _NIFTI2 else nibabel.Nifti1Header
        header = kind.from_fileobj(io.BytesIO(content), check=False)
        shape = header.get_data_shape()
        count = int(np.prod([int(n) for n in shape], dtype=np.int64))
        needed = int(header["vox_offset"]) + count * header.get_data_dtype().itemsize
    except Exception:  # nibabel raises what it likes for a damaged head
        return Head(fault="unreadable", note="is no NIfTI file")
    if not packed and size < needed:
        return Head(fault="unreadable", note=f"is cut: {size} of {needed} bytes are there")
    frames = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    return Head(frames=str(frames))


_NIFTI2 = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


def dicom_head(files: Sequence[bytes], count: int) -> Head:
    """The head of a series of `count` files by its first, middle and last one.

    Raises:
        UsageError: pydicom is not installed.
    """
    sets = []
    for content in files:
        found = dicom_dataset(content)
        if found is None:
            return Head(fault="unreadable", note="a file is no DICOM")
        sets.append(found)
    first = sets[0]
    modalities = {str(s.get("Modality", "") or "") for s in sets}
    numbers = [_whole(s.get("InstanceNumber")) for s in sets]
    head = {
        "modality": ",".join(sorted(modalities - {""})),
        "date": _date(first),
        "field_strength": str(first.get("MagneticFieldStrength", "") or ""),
        "frames": str(_frames(first, count) or ""),
        "frame_seconds": _seconds(first),
        "tracer": _tracer(first),
        "person": str(first.get("PatientID", "") or ""),
    }
    if missing := _missing(numbers, count):
        return Head(**head, fault="incomplete_series", note=missing)
    return Head(**head)


def dicom_dataset(content: bytes, *, pixels: bool = False) -> Dataset | None:
    """A DICOM file, of which the tags that are used; None if it is none.

    Raises:
        UsageError: pydicom is not installed.
    """
    pydicom = _pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(
                io.BytesIO(content),
                stop_before_pixels=not pixels,
                specific_tags=[*_TAGS, *(["PixelData"] if pixels else [])],
                force=content[128:132] != b"DICM",
            )
        except Exception:  # of damaged files it raises what it likes
            return None


def head_bytes() -> int:
    """How much of a DICOM file is read for its head."""
    return _DICOM_HEAD


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise UsageError(
            "the sources hold DICOM files; install what reads them: pip install 'mri2pet[dicom]'"
        ) from None
    return pydicom


def _missing(numbers: Sequence[int | None], count: int) -> str:
    """A sentence if the numbers of the first and last file leave room for more than there are."""
    first, last = numbers[0], numbers[-1]
    if first is None or last is None or count < 2:
        return ""
    span = abs(last - first)
    if span % (count - 1) == 0:  # each one, or each second or third as some scanners count
        return ""
    if span + 1 > count:
        return f"{count} files, but they are numbered up to {max(first, last)}"
    return ""


def _frames(dataset: Dataset, count: int) -> int | None:
    told, slices = _whole(dataset.get("NumberOfTimeSlices")), _whole(dataset.get("NumberOfSlices"))
    if told:
        return told
    return count // slices if slices and count % slices == 0 else None


def _seconds(dataset: Dataset) -> str:
    milliseconds = _whole(dataset.get("ActualFrameDuration"))
    return f"{milliseconds / 1000:g}" if milliseconds else ""


def _date(dataset: Dataset) -> str:
    for name in ("AcquisitionDate", "SeriesDate", "StudyDate"):
        text = str(dataset.get(name, "") or "").replace(".", "").replace("-", "")
        if len(text) >= 8 and text[:8].isdigit():
            return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    return ""


def _tracer(dataset: Dataset) -> str:
    try:
        return str(dataset.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical or "")
    except (AttributeError, IndexError, TypeError):
        return ""


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
