"""What `mri2pet dicom list` shows."""

from __future__ import annotations

from pathlib import Path

from mri2pet.dicom.collect import Series, collect
from mri2pet.dicom.header import shown, text
from mri2pet.dicom.select import Judged, choose, judge
from mri2pet.dicom.stack import stack
from mri2pet.errors import InputError

COLUMNS = ("series", "description", "slices", "voxel", "T1")
PATIENT = {
    "name": "PatientName",
    "id": "PatientID",
    "born": "PatientBirthDate",
    "study": "StudyDate",
}


def listing(path: Path | str, *, show_patient: bool = False) -> tuple[list[list[str]], str]:
    """A table of the series with its head, and the sentence which one is taken or why none.

    Raises:
        InputError: there is no DICOM, or it is refused as a whole.
    """
    found = collect(path)
    head = [*COLUMNS, *(PATIENT if show_patient else ())]
    rows = [
        _row(judge(series)) + (_patient(series) if show_patient else []) for series in found.series
    ]
    try:
        chosen = choose(found)
        stack(found.name, chosen.series)
        return [head, *rows], chosen.took
    except InputError as error:
        return [head, *rows], str(error)


def _row(one: Judged) -> list[str]:
    return [
        str(one.series.number),
        one.description,
        str(one.slices),
        one.size,
        _verdict(one),
    ]


def _verdict(one: Judged) -> str:
    """`yes`, with what is doubtful, or why not; for a candidate by its geometry too."""
    if one.against is not None:
        return f"no: {one.against}"
    try:
        stack("", one.series)
    except InputError as error:
        return "no: " + str(error).removeprefix(f": series {one.series.number} ").rstrip(".")
    return "yes, after a contrast agent" if one.contrast else "yes"


def _patient(series: Series) -> list[str]:
    header = series.instances[0].header
    return [shown(text(header, keyword)) for keyword in PATIENT.values()]
