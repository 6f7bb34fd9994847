"""The slices of a series, one record each, whether its instances are classic or Enhanced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mri2pet.dicom.collect import Series
from mri2pet.dicom.header import Instance, count, digits, first, number, text

ENHANCED = (
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice.

    Attributes:
        number: from 1 within an Enhanced instance, else None.
        position, orientation, spacing: in the file's own digits; None where they are missing.
        traits: what may tell two slices at one position apart, by keyword.
    """

    instance: Instance
    number: int | None
    position: tuple[str, ...] | None
    orientation: tuple[str, ...] | None
    spacing: tuple[str, ...] | None
    traits: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file, and the frame in it."""
        return self.instance.stored.name + (f", frame {self.number}" if self.number else "")


def is_enhanced(instance: Instance) -> bool:
    return text(instance.header, "SOPClassUID") in ENHANCED


def frame_count(instance: Instance) -> int:
    """How many frames the header promises."""
    return count(instance.header, "NumberOfFrames") or 1


def slices(series: Series) -> int:
    """How many slices the headers of a series promise."""
    return sum(map(frame_count, series.instances))


def frames_of(series: Series) -> Iterator[Frame]:
    """The slices in the order of the files; of an Enhanced instance those it describes."""
    for instance in series.instances:
        if is_enhanced(instance):
            yield from _enhanced(instance)
        else:
            yield _classic(instance)


def echo_time_ms(series: Series) -> float | None:
    """The longest echo time of the first instance."""
    header = series.instances[0].header
    groups = (first(header, "SharedFunctionalGroupsSequence"),
              first(header, "PerFrameFunctionalGroupsSequence"))  # fmt: skip
    inner = (number(first(group, "MREchoSequence"), "EffectiveEchoTime") for group in groups)
    times = (number(header, "EchoTime"), *inner)
    return max((time for time in times if time is not None), default=None)


def _classic(instance: Instance) -> Frame:
    header = instance.header
    kinds = text(header, "ImageType").split("\\")
    traits = {
        "AcquisitionNumber": text(header, "AcquisitionNumber"),
        "EchoNumbers": text(header, "EchoNumbers"),
        "ImageType": kinds[2] if len(kinds) > 2 else "",
        "TemporalPositionIdentifier": text(header, "TemporalPositionIdentifier"),
        "InversionTime": text(header, "InversionTime"),
        "TriggerTime": text(header, "TriggerTime"),
    }
    return Frame(instance, None, *_geometry(header, header, header), traits)


def _geometry(position: Any, orientation: Any, spacing: Any) -> tuple[Any, Any, Any]:
    return (
        digits(position, "ImagePositionPatient", 3),
        digits(orientation, "ImageOrientationPatient", 6),
        digits(spacing, "PixelSpacing", 2),
    )


def _enhanced(instance: Instance) -> Iterator[Frame]:
    shared = first(instance.header, "SharedFunctionalGroupsSequence")
    each = instance.header.get("PerFrameFunctionalGroupsSequence") or []
    for place, own in enumerate(each, start=1):

        def group(keyword: str, own: Any = own) -> Any:
            """A functional group of this frame, or of all; an empty one has no values."""
            return first(own, keyword) or first(shared, keyword) or {}

        content, kind = group("FrameContentSequence"), group("MRImageFrameTypeSequence")
        kinds = text(kind, "FrameType").split("\\")
        traits = {
            "AcquisitionNumber": text(content, "FrameAcquisitionNumber"),
            "EchoNumbers": text(group("MREchoSequence"), "EffectiveEchoTime"),
            "ImageType": text(kind, "ComplexImageComponent") or (kinds[2] if kinds[2:] else ""),
            "TemporalPositionIdentifier": text(content, "TemporalPositionIndex"),
            "InversionTime": text(group("MRModifierSequence"), "InversionTimes"),
            "TriggerTime": text(
                group("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime"
            ),
        }
        yield Frame(
            instance,
            place,
            *_geometry(
                group("PlanePositionSequence"),
                group("PlaneOrientationSequence"),
                group("PixelMeasuresSequence"),
            ),
            traits,
        )
