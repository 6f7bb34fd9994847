"""The synthetic PET as DICOM: one PET instance for each slice of the T1 series."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mri2pet import WARNING, __version__
from mri2pet.dicom.attributes import (
    add_equipment,
    add_plane,
    add_references,
    header,
    plain_text,
)
from mri2pet.dicom.quantise import Quantised, quantise
from mri2pet.dicom.uids import Identity, file_name
from mri2pet.imaging.suvr.drawn import EXPECTED_LEVEL

if TYPE_CHECKING:
    from pydicom import Dataset

    from mri2pet.dicom.source import Source

PET_CLASS = "1.2.840.10008.5.1.4.1.1.128"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLEMENTATION = "2.25.251363903116431786139917459478236912057"
DESCRIPTION = "SYNTHETIC AV45 PET SUVR from T1w, NOT ACQUIRED"
DESCRIPTION_LIMIT, NAME_LIMIT = 1024, 64

Writer = Callable[[BinaryIO], Any]


@dataclass(frozen=True)
class Window:
    """What a viewer shows at first: `low` to `high`, and how it calls that."""

    low: float
    high: float
    name: str


PET_WINDOW = Window(0.0, 3.0, "SUVR 0 to 3")
SD_WINDOW = Window(0.0, 0.5, "SD 0 to 0.5 SUVR")


def pet_files(
    source: Source,
    values: np.ndarray,
    sidecar: Mapping[str, Any],
    identity: Identity,
    *,
    overlay: bool = False,
) -> dict[str, Writer]:
    """The PET series: file name → what writes that instance, from the first slice to the last.

    Args:
        source: the T1 series on whose slices the PET lies.
        values: [column, row, slice] in SUVR.
        sidecar: of the result.
        overlay: with SYNTHETIC in an overlay plane, which viewers draw over the image; dcm2niix
            makes a file of its own of it.

    Raises:
        InputError: a value is no number.
    """
    return _files("pet", source, values, sidecar, identity, DESCRIPTION, PET_WINDOW, overlay)


def sd_files(
    source: Source,
    values: np.ndarray,
    sidecar: Mapping[str, Any],
    identity: Identity,
    *,
    overlay: bool = False,
) -> dict[str, Writer]:
    """The same for the standard deviation over the samples, a series of its own."""
    samples = sidecar["settings"]["samples"]
    description = f"SYNTHETIC AV45 PET SUVR, SD of {samples} samples, NOT ACQUIRED"
    return _files("sd", source, values, sidecar, identity, description, SD_WINDOW, overlay)


def names(identity: Identity, kind: str, count: int) -> list[str]:
    """The file names of a series of so many instances, before there is anything to write."""
    return [file_name(identity.instance(kind, number)) for number in range(1, count + 1)]


def _files(
    kind: str,
    source: Source,
    values: np.ndarray,
    sidecar: Mapping[str, Any],
    identity: Identity,
    description: str,
    window: Window,
    overlay: bool,
) -> dict[str, Writer]:
    expected = (source.columns, source.rows, len(source.frames))
    if tuple(values.shape) != expected:
        raise ValueError(f"values of shape {values.shape} on slices of shape {expected}")
    whole = quantise(values)
    plane = _overlay(source.rows, source.columns) if overlay else None
    derivation = derived(sidecar, source.warnings, kind)

    def writer(k: int) -> Writer:
        def write(stream: BinaryIO) -> None:
            made = _instance(kind, source, k, identity, sidecar["versions"]["mri2pet"])
            made.SeriesDescription = plain_text(description, NAME_LIMIT)
            made.DerivationDescription = derivation
            _add_pixels(made, whole, k, window)
            if plane is not None:
                made.update(plane)
            stream.write(encoded(made))

        return write

    files = names(identity, kind, len(source.frames))
    return {name: writer(k) for k, name in enumerate(files)}


def _instance(kind: str, source: Source, k: int, identity: Identity, version: str) -> Dataset:
    """All but the pixels of slice k, counted from 0."""
    frame, number = source.frames[k], k + 1
    made = header(
        source,
        kind=kind,
        sop_class=PET_CLASS,
        sop_uid=identity.instance(kind, number),
        series_uid=identity.series(kind),
        number=number,
    )
    made.Modality = "PT"
    made.ImageType = ["DERIVED", "PRIMARY", "SYNTHETIC"]
    made.BodyPartExamined = "BRAIN"
    add_equipment(made, source, version)
    add_plane(made, source, frame)
    add_references(made, frame)
    made.Units, made.SeriesType = "NONE", ["STATIC", "IMAGE"]
    made.CountsSource, made.DecayCorrection = "EMISSION", "NONE"
    made.CorrectedImage = made.CollimatorType = made.ActualFrameDuration = None
    made.AcquisitionDate = made.AcquisitionTime = None
    made.FrameReferenceTime = "0"
    made.RadiopharmaceuticalInformationSequence = []
    made.NumberOfSlices, made.ImageIndex = len(source.frames), number
    lossy = str(frame.dataset.get("LossyImageCompression") or "00")
    made.LossyImageCompression = "01" if lossy == "01" else "00"  # once lossy, always lossy
    return made


def _add_pixels(made: Dataset, whole: Quantised, k: int, window: Window) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleIntercept, made.RescaleSlope = "0", whole.slope
    made.WindowCenter = f"{(window.low + window.high) / 2:g}"
    made.WindowWidth = f"{window.high - window.low:g}"
    made.WindowCenterWidthExplanation = window.name
    made.VOILUTFunction = "LINEAR_EXACT"  # LINEAR would take 1 off the width
    rows = np.ascontiguousarray(whole.stored[:, :, k].T, dtype="<i2")
    made.PixelData = rows.tobytes()


def derived(sidecar: Mapping[str, Any], doubts: Sequence[str], kind: str) -> str:
    """What stands in DerivationDescription: the warning, the model, how it drew, what is doubtful.

    Args:
        doubts: of the source, beside those in the sidecar.
    """
    settings, model = sidecar["settings"], sidecar["model"]
    samples = settings["samples"]
    what = {"pet": "Mean", "sd": "Standard deviation, not an error bar,"}[kind]
    # The spread is of the samples alone, and one sample is its own mean.
    expected = kind == "pet" and settings.get("mean") == EXPECTED_LEVEL
    level = f" ({EXPECTED_LEVEL})" if expected else ""
    sentences = [
        WARNING,
        f"{what} of {samples} sample{'s' * (samples > 1)}{level} of model "
        f"{plain_text(model['name'], NAME_LIMIT)} (SHA-256 {model['sha256']}); "
        f"{settings['sampler']}, {settings['steps']} steps, seed {settings['seed']}.",
        f"1 SUVR is the mean of: {sidecar['ReferenceRegion']}.",
        "Dates and times are those of the MRI.",
        *dict.fromkeys([*sidecar["warnings"], *doubts]),
    ]
    return plain_text(" ".join(sentences), DESCRIPTION_LIMIT)


def _overlay(rows: int, columns: int) -> Dataset:
    """SYNTHETIC at the top left, in an overlay plane of its own."""
    from PIL import Image, ImageDraw, ImageFont
    from pydicom import Dataset

    picture = Image.new("1", (columns, rows))
    font = ImageFont.load_default(size=max(8, columns // 16))
    ImageDraw.Draw(picture).text((columns // 32, rows // 32), "SYNTHETIC", 1, font)
    bits = np.packbits(np.asarray(picture, dtype=bool).ravel(), bitorder="little").tobytes()
    plane = Dataset()
    for element, vr, value in (
        (0x0010, "US", rows),
        (0x0011, "US", columns),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x3000, "OW", bits + b"\0" * (len(bits) % 2)),
    ):
        plane.add_new(0x60000000 + element, vr, value)
    return plane


def encoded(made: Dataset) -> bytes:
    """The bytes of a file: explicit VR, little endian.

    Copied values are written as they came, also those that the standard would not allow.
    """
    from pydicom import dcmwrite
    from pydicom.config import disable_value_validation
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = f"MRI2PET {__version__}"[:16]
    made.file_meta = meta
    stream = io.BytesIO()
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the value, which may be a name
        dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()
