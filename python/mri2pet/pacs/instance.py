"""Whether an instance that arrived can be taken: its header alone is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.pacs.contexts import UID, UNCOMPRESSED

UNREADABLE, MISMATCH = 0xC000, 0xA900
WANTED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows",
    "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel",
)  # fmt: skip
LONGEST_HEADER = 64 << 20
"""Bytes of a header: an Enhanced MR of a thousand frames has a few MiB."""


class Unacceptable(Exception):
    """An instance that is answered with `status`; `code` is a word for the log and counters.

    `series` is its Series Instance UID where that could be read.
    """

    def __init__(self, status: int, code: str, series: str | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.series = status, code, series


@dataclass(frozen=True)
class Header:
    sop: str
    series: str
    study: str


def examine(path: Path, *, sop: str, sop_class: str, syntax: str) -> Header:
    """The UIDs of the instance in a file that came under these names in its command.

    Raises:
        Unacceptable: it cannot be read, or is another thing than what was announced.
    """
    if not UID.fullmatch(sop):
        raise Unacceptable(UNREADABLE, "uid")
    header = _read(path)
    series, study = (str(header.get(k, "")) for k in ("SeriesInstanceUID", "StudyInstanceUID"))
    if not UID.fullmatch(series) or not UID.fullmatch(study):
        raise Unacceptable(UNREADABLE, "uid")
    announced = (sop_class, sop)
    if (str(header.get("SOPClassUID", "")), str(header.get("SOPInstanceUID", ""))) != announced:
        raise Unacceptable(MISMATCH, "class", series)
    if header.get("Modality") != "MR":
        raise Unacceptable(MISMATCH, "modality", series)
    if not _has_its_pixels(header, path, syntax):
        raise Unacceptable(UNREADABLE, "pixels", series)
    return Header(sop, series, study)


def _read(path: Path) -> dict[str, Any]:
    import pydicom

    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=list(WANTED), defer_size=4096
            )
            if file.tell() > LONGEST_HEADER:
                raise Unacceptable(UNREADABLE, "header")
            return {name: header.get(name) for name in WANTED if name in header}
    except (Unacceptable, MemoryError):
        raise
    except (Exception, RecursionError):  # whatever a stranger's bytes do to a parser
        raise Unacceptable(UNREADABLE, "unreadable") from None


def _has_its_pixels(header: dict[str, Any], path: Path, syntax: str) -> bool:
    """Whether the matrix is one, and as many bytes as it needs are in the file."""
    try:
        numbers = [int(header[k] or 0) for k in ("Rows", "Columns", "BitsAllocated")]
        numbers += [int(header.get(k) or 1) for k in ("NumberOfFrames", "SamplesPerPixel")]
    except (KeyError, TypeError, ValueError):
        return False
    if min(numbers) < 1:
        return False
    bits = 1
    for number in numbers:
        bits *= number
    return syntax not in UNCOMPRESSED or bits // 8 <= path.stat().st_size


def data_set_hash(path: Path) -> str:
    """SHA-256 of the data set in a DICOM file, without preamble and file meta information."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in _after_meta(file):
            digest.update(block)
    return digest.hexdigest()


def _after_meta(file: Any) -> Iterator[bytes]:
    head = file.read(144)  # preamble, DICM, and (0002,0000) UL: the length of what follows it
    if head[128:136] != b"DICM\x02\x00\x00\x00" or len(head) != 144:
        raise Unacceptable(UNREADABLE, "unreadable")
    file.seek(144 + int.from_bytes(head[140:144], "little"))
    while block := file.read(1 << 20):
        yield block
