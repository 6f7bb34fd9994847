"""The report as a DICOM series: an encapsulated PDF, or a colour picture for what takes no PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from mri2pet.dicom.attributes import (
    MANUFACTURER,
    add_equipment,
    copy_elements,
    header,
    reference,
)
from mri2pet.dicom.uids import Identity, file_name
from mri2pet.dicom.write import Writer, encoded

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    from mri2pet.dicom.source import Source

PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
SC_CLASS = "1.2.840.10008.5.1.4.1.1.7"
TITLE = "SYNTHETIC AV45 PET, NOT ACQUIRED: report"
KINDS = ("pdf", "sc", "none")


def pdf_file(source: Source, pdf: bytes, identity: Identity, version: str) -> dict[str, Writer]:
    """The report as one Encapsulated PDF: its file name → what writes it."""

    def write(stream: BinaryIO) -> None:
        made = _new("pdf", PDF_CLASS, source, identity)
        made.Modality, made.ConversionType = "DOC", "WSD"
        made.SeriesDescription = made.DocumentTitle = TITLE
        add_equipment(made, source, version)
        made.AcquisitionDateTime = None
        made.ConceptNameCodeSequence = []
        whole = {str(f.dataset.SOPInstanceUID): reference(f, whole=True) for f in source.frames}
        made.SourceInstanceSequence = list(whole.values())
        made.MIMETypeOfEncapsulatedDocument = "application/pdf"
        made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        made.EncapsulatedDocumentLength = len(pdf)
        stream.write(encoded(made))

    return {file_name(identity.instance("pdf", 1)): write}


def sc_file(
    source: Source, page: np.ndarray, identity: Identity, version: str
) -> dict[str, Writer]:
    """The report as one Secondary Capture: its file name → what writes it.

    Args:
        page: uint8 [rows, columns, 3].
    """

    def write(stream: BinaryIO) -> None:
        from highdicom.sc import SCImage

        made = _new("sc", SC_CLASS, source, identity)
        made.Modality, made.SeriesDescription = "OT", TITLE
        made.BodyPartExamined = "BRAIN"
        made.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC"]
        add_equipment(made, source, version)
        made.LossyImageCompression = "00"
        picture = SCImage(
            pixel_array=page,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=made.StudyInstanceUID,
            series_instance_uid=made.SeriesInstanceUID,
            series_number=made.SeriesNumber,
            sop_instance_uid=made.SOPInstanceUID,
            instance_number=made.InstanceNumber,
            manufacturer=MANUFACTURER,
            patient_orientation=("L", "F"),
        )
        pixels = [e.keyword for e in picture if e.tag.group in (0x0028, 0x7FE0)]
        copy_elements(picture, made, ["ConversionType", "PatientOrientation", *pixels])
        stream.write(encoded(made))

    return {file_name(identity.instance("sc", 1)): write}


def _new(kind: str, sop_class: str, source: Source, identity: Identity) -> Dataset:
    return header(
        source,
        kind=kind,
        sop_class=sop_class,
        sop_uid=identity.instance(kind, 1),
        series_uid=identity.series(kind),
        number=1,
    )
