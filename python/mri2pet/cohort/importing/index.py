"""One walk through a download: which image lies where, and what its heads and XML say.

Memory grows with the images, not with their files: of each copy of an image its folder, the
number of its files and what three of them say. The index is kept in two tables and used again as
long as no folder, zip or single file was changed.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mri2pet.cohort.importing.heads import Head, dicom_dataset, dicom_head, head_bytes, nifti_head
from mri2pet.cohort.importing.loni import (
    ImageId,
    folder_id_of,
    form_of,
    id_of,
    natural,
    place,
)
from mri2pet.cohort.importing.sources import Folder, Reader, Sources
from mri2pet.cohort.importing.xml_facts import MAX_BYTES, XmlFacts, read_xml
from mri2pet.errors import InputError
from mri2pet.tables import read_table, write_tsv

FORMAT = "2"
NOT_NOW = "could not be read"  # of a file that the disk or network did not give this time
UNREADABLE = (OSError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError)
Report = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """The files of one image in one place. `first` is the first of `count` in natural order.

    `bytes` is the size of the one file, or of the first, middle and last one together.
    """

    image: str
    source: int
    archive: str
    folder: str
    first: str
    form: str
    count: int
    bytes: int
    subject: str
    description: str
    date: str
    time: str
    head: Head

    @property
    def key(self) -> str:
        """The number of the image, or its series id."""
        return self.image if self.image.startswith("S") else self.image.lstrip("ID")


@dataclass
class Index:
    """What the sources hold.

    Attributes:
        conflicts: keys of images whose copies differ, with a sentence.
        tables: the CSV files, each as the number of its source and its path in it.
        settled: every file could be read; what holds only until the disk is there again is not
            kept.
    """

    copies: dict[str, list[Copy]] = field(default_factory=dict)
    xml: dict[str, XmlFacts] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    tables: list[tuple[int, str]] = field(default_factory=list)
    settled: bool = True
    files: int = 0


def build_index(
    sources: Sources,
    subject: re.Pattern[str],
    *,
    header_person: bool,
    watched: list[tuple[str, int, int]] | None = None,
    report: Report = lambda what, count: None,
) -> Index:
    """Walks the sources.

    Args:
        subject: what the study's codes of people look like.
        header_person: whether a DICOM's patient id is such a code, so that it can contradict.
        watched: gets what tells whether anything was changed.
        report: called with ("index", images so far).

    Raises:
        InputError: a source cannot be read. UsageError: DICOM, and no pydicom.
    """
    index, reader = Index(), Reader(sources)
    for folder in sources.walk(watched):
        index.files += len(folder.names)
        for copy in _copies(folder, reader, subject, header_person):
            index.copies.setdefault(copy.key, []).append(copy)
            index.settled &= copy.head.note != NOT_NOW
            if watched is not None and copy.count == 1 and not copy.archive:
                _watch_file(sources, copy, watched)
        for name in folder.names:
            if name.lower().endswith(".xml"):
                _add_xml(index, reader, folder, name)
            elif name.lower().endswith(".csv") and not sources.is_in_zip(
                folder.source, folder.archive
            ):
                index.tables.append((folder.source, f"{folder.path}/{name}".lstrip("/")))
        report("index", len(index.copies))
    _compare(index, reader)
    return index


def read_index(folder: Path, sources: Sources) -> Index | None:
    """The index that `write_index` kept, None if there is none or the sources changed since."""
    try:
        watched = [
            (row["place"], int(row["bytes"]), int(row["time"]))
            for row in read_table(folder / "index_places.tsv")
        ]
        rows = read_table(folder / "index.tsv")
        xml = read_table(folder / "index_xml.tsv")
        conflicts = read_table(folder / "index_conflicts.tsv")
        tables = read_table(folder / "index_tables.tsv")
        known = [name.rpartition(":")[2] for name, *_ in watched if name.startswith("sources:")]
        if known != [*sources.names, FORMAT]:
            return None
        if sources.changed([w for w in watched if not w[0].startswith("sources:")]):
            return None
        index = Index(files=sum(int(row["count"]) for row in rows))
        for row in rows:
            copy = _copy_of(row)
            index.copies.setdefault(copy.key, []).append(copy)
        index.xml = {row["key"]: XmlFacts(**_without(row, "key")) for row in xml}
        index.conflicts = {row["key"]: row["sentence"] for row in conflicts}
        index.tables = [(int(row["source"]), row["file"]) for row in tables]
        return index
    except (InputError, KeyError, ValueError, TypeError):
        return None


def write_index(
    index: Index, folder: Path, sources: Sources, watched: Sequence[tuple[str, int, int]]
) -> None:
    """Keeps an index: four tables of what was found, and one of what must not change."""
    rows = (_row_of(copy) for copies in index.copies.values() for copy in copies)
    write_tsv(folder / "index.tsv", _COLUMNS, rows)
    xml = ({"key": key, **_record(facts)} for key, facts in index.xml.items())
    write_tsv(folder / "index_xml.tsv", ("key", *_names(XmlFacts)), xml)
    conflicts = ({"key": k, "sentence": s} for k, s in index.conflicts.items())
    write_tsv(folder / "index_conflicts.tsv", ("key", "sentence"), conflicts)
    tables = ({"source": str(source), "file": file} for source, file in index.tables)
    write_tsv(folder / "index_tables.tsv", ("source", "file"), tables)
    own = [(f"sources:{name}", 0, 0) for name in (*sources.names, FORMAT)]
    places = ({"place": p, "bytes": str(b), "time": str(t)} for p, b, t in [*own, *watched])
    write_tsv(folder / "index_places.tsv", ("place", "bytes", "time"), places)


def _copies(
    folder: Folder, reader: Reader, subject: re.Pattern[str], header_person: bool
) -> list[Copy]:
    where = place(folder.path, subject)
    found = []
    for (_, form), names in _grouped(folder.names, where.folder_id).items():
        names.sort(key=natural)
        image = id_of(names[0], where.folder_id)
        assert image is not None
        size, head = _head(folder, form, names, reader)
        person = where.subject or _subject_in(names[0], subject)
        known = head.person if header_person and subject.fullmatch(head.person) else ""
        own = {**_record(head), "person": known}
        found.append(
            Copy(
                str(image), folder.source, folder.archive, folder.path, names[0], form,
                len(names), size, person, where.description, where.date, where.time, Head(**own),
            )
        )  # fmt: skip
    return found


def _head(folder: Folder, form: str, names: Sequence[str], reader: Reader) -> tuple[int, Head]:
    def path(name: str) -> str:
        return f"{folder.path}/{name}" if folder.path else name

    chosen = sorted({0, len(names) // 2, len(names) - 1})
    try:
        sizes = [reader.size(folder.source, folder.archive, path(names[i])) for i in chosen]
        if form == "dicom":
            heads = [
                reader.read(folder.source, folder.archive, path(names[i]), head_bytes())
                for i in chosen
            ]
            return sum(sizes), dicom_head(heads, len(names))
        if form == "nifti":
            content, packed = _nifti_begin(reader, folder, path(names[0]))
            head = nifti_head(content, sizes[0], packed)
            if len(names) > 1 and not head.fault:  # one file a frame
                head = replace(head, frames=str(len(names)))
            return sum(sizes), head
        if len(names) > 1:
            return sum(sizes), Head(fault="unreadable", note=f"{len(names)} files of one id")
        if form == "ecat":
            return sizes[0], Head("PT")  # a format of PET scanners
        return sizes[0], Head(fault="unreadable", note="is of a form that is not read")
    except OSError:
        return 0, Head(fault="unreadable", note=NOT_NOW)
    except UNREADABLE:
        return 0, Head(fault="unreadable", note="cannot be read")


def _nifti_begin(reader: Reader, folder: Folder, path: str) -> tuple[bytes, bool]:
    content = reader.read(folder.source, folder.archive, path, 4096)
    if not content.startswith(b"\x1f\x8b"):
        return content, False
    return zlib.decompressobj(wbits=31).decompress(content, 1024), True


def _subject_in(name: str, subject: re.Pattern[str]) -> str:
    """The code in `ADNI_990_S_9001_MR_…`, '' where none stands there."""
    parts = name.split("_")
    for width in (3, 1):
        if len(parts) > width and subject.fullmatch(code := "_".join(parts[1 : 1 + width])):
            return code
    return ""


def _add_xml(index: Index, reader: Reader, folder: Folder, name: str) -> None:
    path = f"{folder.path}/{name}" if folder.path else name
    try:
        content = reader.read(folder.source, folder.archive, path, MAX_BYTES + 1)
    except UNREADABLE as error:
        index.settled &= not isinstance(error, OSError)
        return
    for facts in read_xml(content):
        if (image := ImageId.of(facts.image)) is not None:
            index.xml.setdefault(image.key, facts)


def _watch_file(sources: Sources, copy: Copy, watched: list[tuple[str, int, int]]) -> None:
    if sources.is_in_zip(copy.source, copy.archive):
        return
    relative = f"{copy.folder}/{copy.first}" if copy.folder else copy.first
    state = (sources.paths[copy.source] / relative).stat()
    watched.append((f"{copy.source}:{relative}", state.st_size, state.st_mtime_ns))


def _compare(index: Index, reader: Reader) -> None:
    """Puts the fullest copy of each image first, and notes a conflict where two differ.

    Copies are read in the order of their places, so that each zip is opened once.
    """
    several: dict[str, list[bytes | None]] = {}
    for key, copies in index.copies.items():
        if len(copies) > 1:
            copies.sort(key=lambda c: (-c.count, c.source, c.archive, c.folder, c.form))
            people = {copy.subject for copy in copies}
            if len(people) > 1:
                index.conflicts[key] = f"lies in the folders of {len(people)} people"
            else:
                several[key] = [None] * len(copies)
    places = [
        (index.copies[key][n], key, n) for key, found in several.items() for n in range(len(found))
    ]
    places.sort(key=lambda item: (item[0].source, item[0].archive, item[0].folder, item[1]))
    for copy, key, n in places:
        try:
            several[key][n] = _content(copy, reader)
        except UNREADABLE as error:
            index.settled &= not isinstance(error, OSError)
    for key, contents in several.items():
        known = [_digests(content) for content in contents if content is not None]
        if len(known) < len(contents):
            index.conflicts[key] = "lies in two places, of which one cannot be read"
        elif any(not content <= known[0] for content in known[1:]):
            index.conflicts[key] = f"lies in {len(known)} places with different contents"


def _content(copy: Copy, reader: Reader) -> bytes:
    """Digests of the file, or of number and voxels of each slice of a DICOM series, one by one."""
    found = []
    for name in names_of(copy, reader):
        path = f"{copy.folder}/{name}" if copy.folder else name
        content = reader.read(copy.source, copy.archive, path)
        said = copy.form
        if copy.form == "dicom":
            dataset = dicom_dataset(content, pixels=True)
            if dataset is None or "PixelData" not in dataset:
                raise EOFError
            said, content = str(dataset.get("InstanceNumber", "")), dataset.PixelData
        found.append(hashlib.sha256(said.encode() + b":" + content).digest()[:_DIGEST])
    return b"".join(found)


def _digests(content: bytes) -> set[bytes]:
    return {content[i : i + _DIGEST] for i in range(0, len(content), _DIGEST)}


_DIGEST = 16  # bytes; 128 bits are enough to tell two images


def names_of(copy: Copy, reader: Reader) -> list[str]:
    """The files of a copy, in natural order.

    Raises:
        OSError, zipfile.BadZipFile: its place cannot be looked into any more.
    """
    place = (copy.source, copy.archive, copy.folder)
    groups = _groups(reader, *place, reader.time(*place))
    return sorted(groups.get((copy.key, copy.form), ()), key=natural)


@lru_cache(maxsize=1)
def _groups(
    reader: Reader, source: int, archive: str, folder: str, time: int
) -> dict[tuple[str, str], list[str]]:
    """(key of an image, form) → its files, of the folder that was asked for last."""
    return _grouped(reader.names(source, archive, folder), folder_id_of(folder))


def _grouped(names: Iterable[str], folder_id: ImageId | None) -> dict[tuple[str, str], list[str]]:
    """(key of an image, form) → its files."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if (form := form_of(name)) and (image := id_of(name, folder_id)) is not None:
            groups.setdefault((image.key, form), []).append(name)
    return groups


def _row_of(copy: Copy) -> dict[str, Any]:
    row = _record(copy, "head") | {f"head_{k}": v for k, v in _record(copy.head).items()}
    return {name: str(value) for name, value in row.items()}


def _copy_of(row: dict[str, str]) -> Copy:
    head = Head(**{name: row[f"head_{name}"] for name in _names(Head)})
    own: dict[str, Any] = {name: row[name] for name in _names(Copy) if name != "head"}
    numbers = {name: int(row[name]) for name in ("source", "count", "bytes")}
    return Copy(**{**own, **numbers, "head": head})


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _record(item: Any, *but: str) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _names(type(item)) if name not in but}


def _without(row: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != key}


_COLUMNS = (
    *(name for name in _names(Copy) if name != "head"),
    *(f"head_{name}" for name in _names(Head)),
)
