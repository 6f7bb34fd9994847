"""Which of the series is the T1, and why the others are not.

Sentences name a series by its number and a reason in our own words. Only `Chosen.took` quotes a
description, that of the series taken, as the scanner's operator typed it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mri2pet.dicom.collect import Collected, Series
from mri2pet.dicom.frames import ENHANCED, echo_time_ms, frames_of, slices
from mri2pet.dicom.header import first, shown, text
from mri2pet.errors import InputError

MIN_SLICES = 20
MAX_ECHO_TIME_MS = 40.0
MR = ("1.2.840.10008.5.1.4.1.1.4", *ENHANCED)

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SYNTHETIC_DATA = 0x0008001C
_NO_AGENT = ("", "NO", "NONE", "N")
_COUNTED = 20_000  # more slices have no series, and their places are not worth a look

# A word stands alone or beside digits, but not within another word.
_OTHER_CONTRASTS = (
    ("localizer", r"locali[sz]er|scout|survey"),
    ("FLAIR", r"flair"),
    ("T2-weighted", r"(?<![a-z0-9])t2(?![0-9])"),
    ("susceptibility-weighted", r"(?<![a-z])swi(?![a-z])"),
    ("diffusion-weighted", r"(?<![a-z])(?:dwi|adc)(?![a-z])"),
    ("arterial spin labelling", r"(?<![a-z])asl(?![a-z])"),
    ("BOLD", r"(?<![a-z])bold(?![a-z])"),
    ("time of flight", r"(?<![a-z])tof(?![a-z])"),
    ("phase image", r"(?<![a-z])phase(?![a-z])"),
    ("MP2RAGE inversion image", r"(?<![a-z])inv[_ -]?[12](?![0-9])"),
    ("T1 map", r"t1[_ -]?map|mp2rage.*t1[_ -]images"),
)
_AFTER_CONTRAST = re.compile(r"\+\s*c(?![a-z])|(?<![a-z])(?:gd|post)(?![a-z])")


@dataclass(frozen=True, eq=False)
class Judged:
    """A series and what speaks against it as the T1.

    Attributes:
        size_mm: column, row and slice spacing; None where the headers do not tell.
        against: why it is no candidate; None for a candidate.
        overridable: it is named so by words alone, and may be taken when the user says so.
        contrast: a contrast agent was given before.
    """

    series: Series
    slices: int
    size_mm: tuple[float, float, float] | None
    against: str | None
    overridable: bool
    contrast: bool
    is_3d: bool

    @property
    def description(self) -> str:
        """What the scanner's operator called it, on one line."""
        header = self.series.instances[0].header
        return shown(text(header, "SeriesDescription") or text(header, "ProtocolName"))

    @property
    def size(self) -> str:
        """The voxel as text."""
        if self.size_mm is None:
            return "of unknown size"
        return " × ".join(f"{edge:.3g}" for edge in self.size_mm) + " mm"

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Before contrast first, then 3D, then the smaller largest edge (mm, to 0.01)."""
        largest = max(self.size_mm) if self.size_mm is not None else float("inf")
        return self.contrast, not self.is_3d, round(largest, 2)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The series that was taken, the sentence that says so, and what is doubtful about it."""

    series: Series
    took: str
    warnings: tuple[str, ...]


def judge(series: Series) -> Judged:
    """What there is to know of a series before anything is decoded."""
    header = series.instances[0].header
    against, overridable = _against(series)
    agent = text(header, "ContrastBolusAgent").upper() not in _NO_AGENT
    agent = agent or first(header, "ContrastBolusAgentSequence") is not None
    return Judged(
        series,
        slices(series),
        _size_mm(series),
        against,
        overridable,
        contrast=agent or bool(_AFTER_CONTRAST.search(_words(series))),
        is_3d=text(header, "MRAcquisitionType") == "3D",
    )


def choose(found: Collected, number: int | None = None) -> Chosen:
    """The T1 among the series; the one named by number, where one is.

    Raises:
        InputError: no series can be the T1, or two are as good; with every series' reason.
    """
    judged = [judge(series) for series in found.series]
    if number is not None:
        return _named(found, judged, number)
    candidates = sorted((one for one in judged if one.against is None), key=lambda one: one.rank)
    if not candidates:
        raise InputError(
            f"{found.name}: holds no T1 that can be used ("
            + "; ".join(f"series {one.series.number}: {one.against}" for one in judged)
            + "); give the folder of a 3D T1 series."
        )
    people = {_study(one.series) for one in candidates}
    if len(people) > 1:
        raise InputError(
            f"{found.name}: holds T1 series of {len(people)} studies ({_list(candidates)}); name "
            "one with --series, or give one study's folder."
        )
    best = candidates[0]
    if len(candidates) > 1 and candidates[1].rank == best.rank:
        equal = [one for one in candidates if one.rank == best.rank]
        raise InputError(
            f"{found.name}: holds {len(equal)} T1 series that are as good as each other "
            f"({_list(equal)}); name one with --series (`mri2pet dicom list` shows them)."
        )
    return Chosen(best.series, _took(found, judged, best), _warnings(best))


def _named(found: Collected, judged: list[Judged], number: int) -> Chosen:
    one = next((one for one in judged if one.series.number == number), None)
    if one is None:
        there = ", ".join(str(series.number) for series in found.series)
        raise InputError(f"{found.name}: has no series {number}; it has {there}.")
    if one.against is not None and not one.overridable:
        raise InputError(
            f"{found.name}: series {number} cannot be used as a T1 ({one.against}); name another "
            "with --series."
        )
    return Chosen(one.series, _took(found, judged, one), _warnings(one))


def _against(series: Series) -> tuple[str | None, bool]:
    """Why a series is no candidate, and whether words alone say so."""
    header = series.instances[0].header
    sop_class, modality = text(header, "SOPClassUID"), text(header, "Modality")
    if series.fault is not None:
        return series.fault, False
    if _is_synthetic(header):
        return "synthetic, not acquired", False
    if sop_class.startswith(_SECONDARY_CAPTURE):
        return "screen save", False
    if modality != "MR" or sop_class not in MR:
        kind = f"modality {shown(modality, 16)}" if modality != "MR" else "not an MR image"
        return kind, False
    if text(header, "SamplesPerPixel") not in ("", "1"):
        return "colour", False
    time_ms = echo_time_ms(series)
    late = time_ms is not None and time_ms > MAX_ECHO_TIME_MS
    words = _words(series)
    kind = next((name for name, found in _OTHER_CONTRASTS if re.search(found, words)), "")
    if late:
        return f"{kind or 'not T1-weighted'} (TE {time_ms:.0f} ms)", False
    number = slices(series)
    if kind == "localizer" or number >= MIN_SLICES:
        return (kind or None), bool(kind) and number >= MIN_SLICES
    return f"{number} slice{'s' * (number != 1)}, and {MIN_SLICES} are needed", False


def _words(series: Series) -> str:
    header = series.instances[0].header
    kinds = text(header, "ImageType").replace("\\", " ")
    return f"{text(header, 'SeriesDescription') or text(header, 'ProtocolName')} {kinds}".lower()


def _is_synthetic(header: object) -> bool:
    said = text(header, _SYNTHETIC_DATA) == "YES"
    own = text(header, "ManufacturerModelName") == "mri2pet"
    return said or own or "SYNTHETIC" in text(header, "ImageType").split("\\")


def _study(series: Series) -> tuple[str, str]:
    header = series.instances[0].header
    return text(header, "PatientID"), text(header, "StudyInstanceUID")


def _size_mm(series: Series) -> tuple[float, float, float] | None:
    """Voxel edges: of the first slice, and from the first to the last position."""
    if slices(series) > _COUNTED:
        return None
    frames = [f for f in frames_of(series) if f.position and f.orientation and f.spacing]
    if not frames:
        return None
    row, column = np.array(frames[0].orientation, float).reshape(2, 3)
    along = np.array([f.position for f in frames], float) @ np.cross(row, column)
    apart = np.unique(np.round(along, 2))
    thickness = (apart[-1] - apart[0]) / (len(apart) - 1) if len(apart) > 1 else 0.0
    assert frames[0].spacing is not None
    between_rows, between_columns = map(float, frames[0].spacing)
    return between_columns, between_rows, float(thickness)


def _took(found: Collected, judged: list[Judged], best: Judged) -> str:
    others = [one for one in judged if one is not best]
    parts = [
        f'{found.name}: took series {best.series.number} "{best.description}" ({best.slices} '
        f"slices, {best.size})"
    ]
    if others:
        parts.append(f"not taken: {_reasons(others, best)}")
    if found.duplicates:
        parts.append(f"{_files(found.duplicates, 'duplicate')} ignored")
    if found.ignored:
        parts.append(f"{_files(found.ignored, 'other')} ignored")
    return "; ".join(parts) + "."


def _files(number: int, kind: str) -> str:
    return f"{number} {kind} file{'s' * (number != 1)}"


def _reasons(judged: list[Judged], best: Judged) -> str:
    return ", ".join(f"{one.series.number} {_reason(one, best)}" for one in judged)


def _reason(one: Judged, best: Judged) -> str:
    if one.against is not None:
        return one.against
    if one.contrast and not best.contrast:
        return "with contrast agent"
    if best.is_3d and not one.is_3d:
        return "2D"
    return f"{one.size} voxels"


def _list(judged: list[Judged]) -> str:
    return ", ".join(f"series {o.series.number}: {o.slices} slices, {o.size}" for o in judged)


def _warnings(one: Judged) -> tuple[str, ...]:
    said = []
    if one.contrast:
        said.append("The T1 was taken after a contrast agent, which the model has never seen.")
    if one.against is not None:
        said.append(
            f"The DICOM series was named by the user; by its description it is no T1 "
            f"({one.against})."
        )
    return tuple(said)
