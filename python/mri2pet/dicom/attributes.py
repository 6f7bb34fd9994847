"""Attributes that all instances of a result share: whose they are, and that they are made up."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mri2pet.dicom.uids import frame_of_reference

if TYPE_CHECKING:
    from pydicom import Dataset

    from mri2pet.dicom.source import Source, SourceFrame

MANUFACTURER = "The mri2pet contributors"  # dcm2niix takes a name that begins with MR for a scanner
SYNTHETIC_DATA = 0x0008001C  # Synthetic Data, which dictionaries before 2023 do not know
SERIES_NUMBERS = {"pet": 9000, "sd": 9100, "pdf": 9200, "sc": 9200}
"""Added to the source's."""

PATIENT = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
# Type 2: there, if only empty.
NEVER_ABSENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
SCANNER = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
UNDATED = "19000101"


def header(
    source: Source, *, kind: str, sop_class: str, sop_uid: str, series_uid: str, number: int
) -> Dataset:
    """A new data set with patient, study, series and equipment; `kind` as in `SERIES_NUMBERS`.

    Patient and study are the source's as they stand, whether it was de-identified or not.
    """
    from pydicom import Dataset

    first = source.frames[0].dataset
    made = Dataset()
    copy_elements(first, made, (*PATIENT, *STUDY))
    for keyword in NEVER_ABSENT:
        if keyword not in made:
            setattr(made, keyword, None)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, sop_uid
    made.SeriesInstanceUID, made.InstanceNumber = series_uid, number
    of_source = _integer(first.get("SeriesNumber"))
    made.SeriesNumber = SERIES_NUMBERS[kind] + of_source
    made.add_new(SYNTHETIC_DATA, "CS", "YES")
    date, time = dates(source)
    made.SeriesDate, made.SeriesTime = date, time
    made.ContentDate, made.ContentTime = date, time
    made.BurnedInAnnotation = "NO"
    return made


def copy_elements(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    """Copies what the source has of these, value for value."""
    for keyword in keywords:
        if keyword in source:
            target[keyword] = copy.deepcopy(source[keyword])


def dates(source: Source) -> tuple[str, str]:
    """Date and time of the source series, which the result shows.

    Not when the result was made: a second run must give the same bytes. Without dates in the
    source, as after some anonymisation, it is the first day of 1900.
    """
    first = source.frames[0].dataset
    for of in ("Series", "Study", "Acquisition", "Content"):
        if date := str(first.get(f"{of}Date") or ""):
            return date, str(first.get(f"{of}Time") or "000000")
    return UNDATED, "000000"


def add_equipment(made: Dataset, source: Source, version: str) -> None:
    """This program as the maker, and both it and the scanner as contributors."""
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = "mri2pet"
    made.SoftwareVersions = version
    made.DeviceSerialNumber = "none"
    ours = _contribution("109100", "Synthesizing Equipment")
    for keyword in SCANNER:
        setattr(ours, keyword, made[keyword].value)
    ours.ContributionDescription = "Predicted a PET from the MRI; nothing was acquired"
    scanner = _contribution("109101", "Acquisition Equipment")
    first = source.frames[0].dataset
    copy_elements(first, scanner, SCANNER)
    if not scanner.get("Manufacturer"):
        scanner.Manufacturer = "unknown"
    scanner.ContributionDescription = "Acquired the MRI"
    made.ContributingEquipmentSequence = [ours, scanner]


def _contribution(code: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(code, "DCM", meaning)]
    return item


def add_plane(made: Dataset, source: Source, frame: SourceFrame) -> None:
    """Where the slice lies, in the digits of the source."""
    first = frame.dataset
    made.FrameOfReferenceUID = frame_of_reference(source)
    made.PositionReferenceIndicator = first.get("PositionReferenceIndicator")
    made.ImagePositionPatient = [decimal(text) for text in frame.position]
    made.ImageOrientationPatient = [decimal(text) for text in source.orientation]
    made.PixelSpacing = [decimal(text) for text in source.pixel_spacing]
    made.SliceThickness = slice_thickness(frame)
    made.Rows, made.Columns = source.rows, source.columns
    _add_position(made, first.get("PatientPosition"))


def decimal(text: str) -> str:
    """The same digits, or as many of them as a decimal string holds."""
    from pydicom.valuerep import format_number_as_ds

    return text if len(text) <= 16 else format_number_as_ds(float(text))


def slice_thickness(frame: SourceFrame) -> str | None:
    """As the source has it, in the instance or in its functional groups."""
    found = frame.dataset.get("SliceThickness")
    if found is None and frame.frame_number is not None:
        shared = frame.dataset.get("SharedFunctionalGroupsSequence") or []
        each = frame.dataset.get("PerFrameFunctionalGroupsSequence") or []
        for groups in (*each[frame.frame_number - 1 : frame.frame_number], *shared):
            for measures in groups.get("PixelMeasuresSequence") or []:
                found = measures.get("SliceThickness") if found is None else found
    return None if found is None else decimal(str(found))


def _add_position(made: Dataset, position: Any) -> None:
    """How the patient lay, in codes; PatientPosition may not stand beside them."""
    made.PatientOrientationCodeSequence = []
    made.PatientGantryRelationshipCodeSequence = []
    if position == "HFS":
        lying = coded("102538003", "SCT", "recumbent")
        lying.PatientOrientationModifierCodeSequence = [coded("40199007", "SCT", "supine")]
        made.PatientOrientationCodeSequence = [lying]
        head_first = coded("102540008", "SCT", "headfirst")
        made.PatientGantryRelationshipCodeSequence = [head_first]


def add_references(made: Dataset, frame: SourceFrame) -> None:
    """The slice of the MRI that lies here, and the series that it belongs to."""
    image = reference(frame)
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [
        coded("121322", "DCM", "Source image for image processing operation")
    ]
    made.SourceImageSequence = [image]
    series = type(image)()
    series.SeriesInstanceUID = frame.dataset.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference(frame, whole=True)]
    made.ReferencedSeriesSequence = [series]


def reference(frame: SourceFrame, *, whole: bool = False) -> Dataset:
    """An item that names the instance of a frame, and the frame unless the `whole` is meant."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = frame.dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = frame.dataset.SOPInstanceUID
    if frame.frame_number is not None and not whole:
        item.ReferencedFrameNumber = frame.frame_number
    return item


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def plain_text(text: str, limit: int) -> str:
    """Printable ASCII, which every character set holds, of at most so many characters.

    What is too long ends in "..." at a word.
    """
    text = text.replace("–", "-").replace("−", "-").replace("×", "x").replace("≥", ">=")
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = " ".join("".join(c for c in letters if c.isprintable()).split()).replace("\\", "/")
    if len(text) <= limit:
        return text
    return text[: limit - 3].rsplit(" ", 1)[0] + "..."


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
