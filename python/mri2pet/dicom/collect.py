"""From a folder, a zip archive or a file to its DICOM series, by headers alone.

Any name and any depth will do. Links are not followed; what is no DICOM is counted and left out.
Archives are read in memory, and refused before anything is unpacked when their directory promises
too much, or names a place outside.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mri2pet.dicom.header import (
    FREE_RATIO_BYTES,
    MAX_INFLATED,
    MAX_RATIO,
    MIB,
    Instance,
    Stored,
    content_hash,
    count,
    looks_like_dicom,
    read_header,
    shown,
    text,
)
from mri2pet.errors import InputError
from mri2pet.imaging.files.opening import reason

MAX_MEMBERS = 20_000
MAX_ARCHIVE = 4 * 2**30

_UID = re.compile(r"[0-9.]{1,64}")
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"


@dataclass(frozen=True, eq=False)
class Series:
    """Instances of one Series Instance UID.

    Attributes:
        number: SeriesNumber, or where it is missing or taken the next one free behind all.
        uid: "" where it is missing.
        instances: in the order of their names.
        fault: why they are no usable series, whatever they show.
    """

    number: int
    uid: str
    instances: tuple[Instance, ...]
    fault: str | None = None


@dataclass(frozen=True, eq=False)
class Collected:
    """What an input holds: series by number, and how many files were left out."""

    name: str
    series: tuple[Series, ...]
    ignored: int = 0
    duplicates: int = 0


def is_dicom(path: Path | str) -> bool:
    """Whether a file, or some file of a folder, is DICOM by its first bytes, or a zip archive.

    A folder's archives count by their name, so that no document passes for one.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return any(_is_zip_in_folder(found) or _marked(found) for found in _files(path, [0]))
        return path.is_file() and (_is_zip(path) or _marked(path))
    except OSError:
        return False


def collect(path: Path | str) -> Collected:
    """The DICOM series of a folder, a zip archive or a file.

    Raises:
        InputError: nothing is there, no DICOM is in it, an archive is refused, or a DICOM file
            cannot be read.
        UsageError: pydicom is not installed.
    """
    path = Path(path)
    left_out = [0]
    instances: list[Instance] = []
    for stored in _stored(path, left_out):
        found = read_header(stored)
        if found is None:
            left_out[0] += 1
        else:
            instances.append(found)
    if not instances:
        raise InputError(f"{path}: holds no DICOM image; give the folder of a T1 series.")
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(text(instance.header, "SeriesInstanceUID"), []).append(instance)
    series, duplicates = [], 0
    for uid, group in groups.items():
        kept, fault = _without_copies(group)
        duplicates += len(group) - len(kept)
        series.append(Series(-1, uid, tuple(kept), _bad_uid(kept) or fault))
    return Collected(str(path), _numbered(series), left_out[0], duplicates)


def _stored(path: Path, left_out: list[int]) -> Iterator[Stored]:
    """Every file of the input, those in archives too; links and hidden files are counted."""
    if path.is_dir():
        for found in _files(path, left_out):
            name = f"{path}: {shown(found.relative_to(path).as_posix(), 160)}"
            if _is_zip_in_folder(found):
                yield from _members(found, name, left_out)
            else:
                yield _file(found, name)
    elif not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path.")
    elif _is_zip(path):
        yield from _members(path, str(path), left_out)
    else:
        yield _file(path, str(path))


def _file(path: Path, name: str) -> Stored:
    return Stored(name, path.stat().st_size, partial(_opened, path, name))


def _opened(path: Path, name: str) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{name}: {reason(error)}.") from None


def _files(folder: Path, left_out: list[int]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not stat.S_ISREG(path.lstat().st_mode):
                left_out[0] += 1
            else:
                yield path


def _marked(path: Path) -> bool:
    return looks_like_dicom(_file(path, str(path)))


def _is_zip_in_folder(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and _is_zip(path)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (_ZIP, _EMPTY_ZIP)


def _members(path: Path, name: str, left_out: list[int]) -> Iterator[Stored]:
    """The files of an archive.

    Raises:
        InputError: it is damaged, or its directory tells that it must not be unpacked.
    """
    try:
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(f"{name}: is a damaged zip archive; copy it again.") from None
    _refuse_archive(name, members)
    for member in members:
        place = PurePosixPath(member.filename)
        linked = stat.S_ISLNK(member.external_attr >> 16)
        if linked or any(part.startswith(".") for part in place.parts):
            left_out[0] += 1
            continue
        inside = f"{name}: {shown(member.filename, 160)}"
        yield Stored(inside, member.file_size, partial(_open_member, archive, member, inside))


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Any:
    """A member's bytes; zipfile hands out no more of them than the directory promised."""
    try:
        stream = archive.open(member)
        nested = stream.read(4) in (_ZIP, _EMPTY_ZIP)
        stream.seek(0)
    except Exception:  # whatever zipfile makes of a damaged member
        raise InputError(f"{name}: is damaged in its archive; copy it again.") from None
    if nested:
        raise InputError(f"{name}: is an archive within an archive; unpack it.")
    return stream


def _refuse_archive(name: str, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        raise InputError(
            f"{name}: holds {len(members)} files, more than {MAX_MEMBERS}; unpack the T1 alone."
        )
    total = sum(member.file_size for member in members)
    for member in members:
        inside = f"{name}: {shown(member.filename, 160)}"
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or re.match("[A-Za-z]:", member.filename):
            raise InputError(f"{inside}: names a place outside of its archive; make a new one.")
        if member.flag_bits & 1:
            raise InputError(f"{inside}: is encrypted; unpack the archive.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{inside}: is packed in a way that is not read; unpack the archive.")
        size, packed = member.file_size, max(member.compress_size, 1)
        if size > MAX_INFLATED or (size > FREE_RATIO_BYTES and size > MAX_RATIO * packed):
            raise InputError(
                f"{inside}: would inflate from {packed / MIB:.1f} to {size / MIB:.0f} MiB, which "
                "no image does; give the folder of the T1 series."
            )
    if total > MAX_ARCHIVE:
        raise InputError(
            f"{name}: would inflate to {total / 2**30:.1f} GiB, more than "
            f"{MAX_ARCHIVE / 2**30:.0f}; unpack the T1 alone."
        )


def _without_copies(group: list[Instance]) -> tuple[list[Instance], str | None]:
    """Each instance once, and a fault where one UID has two contents."""
    kept: dict[str, Instance] = {}
    fault = None
    for instance in group:
        uid = text(instance.header, "SOPInstanceUID")
        other = kept.setdefault(uid, instance)
        if other is instance:
            continue
        if content_hash(other.stored) != content_hash(instance.stored):
            fault = "holds two files of one SOP Instance UID and different content"
    return list(kept.values()), fault


def _bad_uid(instances: list[Instance]) -> str | None:
    for instance in instances:
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            if not _UID.fullmatch(text(instance.header, keyword)):
                return f"has no valid {keyword}"
        frame = text(instance.header, "FrameOfReferenceUID")
        if frame and not _UID.fullmatch(frame):
            return "has no valid FrameOfReferenceUID"
    return None


def _numbered(series: list[Series]) -> tuple[Series, ...]:
    """The series by number; one without a number of its own gets the next behind all.

    Of several with one number the one of most files keeps it.
    """
    own = [(count(one.instances[0].header, "SeriesNumber"), one) for one in series]
    behind = max((number for number, _ in own if number is not None), default=0)
    numbered: dict[int, Series] = {}
    for number, one in sorted(own, key=lambda pair: (-len(pair[1].instances), pair[1].uid)):
        if number is None or number in numbered:
            behind += 1
            number = behind
        numbered[number] = Series(number, one.uid, one.instances, one.fault)
    return tuple(numbered[number] for number in sorted(numbered))
