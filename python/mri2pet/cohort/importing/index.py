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
from pathlib import Path
from typing import Any

from mri2pet.cohort.importing.heads import Head, dicom_dataset, dicom_head, head_bytes, nifti_head
from mri2pet.cohort.importing.loni import ImageId, form_of, id_of, natural, place
from mri2pet.cohort.importing.sources import Folder, Reader, Sources
from mri2pet.cohort.importing.xml_facts import MAX_BYTES, XmlFacts, read_xml
from mri2pet.errors import InputError
from mri2pet.tables import read_table, write_tsv

FORMAT = "1"
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
    """What the sources hold. `conflicts`: keys of images whose copies differ, with a sentence."""

    copies: dict[str, list[Copy]] = field(default_factory=dict)
    xml: dict[str, XmlFacts] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
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
            if watched is not None and copy.count == 1 and not copy.archive:
                _watch_file(sources, copy, watched)
        for name in folder.names:
            if name.lower().endswith(".xml"):
                _add_xml(index, reader, folder, name)
        report("index", len(index.copies))
    for key, copies in index.copies.items():
        if len(copies) > 1:
            index.copies[key] = _one_content(index, key, copies, reader)
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
        return index
    except (InputError, KeyError, ValueError, TypeError):
        return None


def write_index(
    index: Index, folder: Path, sources: Sources, watched: Sequence[tuple[str, int, int]]
) -> None:
    """Keeps an index: three tables of what was found, and one of what must not change."""
    rows = (_row_of(copy) for copies in index.copies.values() for copy in copies)
    write_tsv(folder / "index.tsv", _COLUMNS, rows)
    xml = ({"key": key, **_record(facts)} for key, facts in index.xml.items())
    write_tsv(folder / "index_xml.tsv", ("key", *_names(XmlFacts)), xml)
    conflicts = ({"key": k, "sentence": s} for k, s in index.conflicts.items())
    write_tsv(folder / "index_conflicts.tsv", ("key", "sentence"), conflicts)
    own = [(f"sources:{name}", 0, 0) for name in (*sources.names, FORMAT)]
    places = ({"place": p, "bytes": str(b), "time": str(t)} for p, b, t in [*own, *watched])
    write_tsv(folder / "index_places.tsv", ("place", "bytes", "time"), places)


def files_of(copy: Copy, names: Iterable[str]) -> list[str]:
    """The files of a copy among those of its folder, in natural order."""
    own = ImageId.of(copy.image)
    folder_id = ImageId("S", int(copy.image[1:])) if copy.image.startswith("S") else own
    mine = [
        name
        for name in names
        if form_of(name) == copy.form
        and (found := id_of(name, folder_id)) is not None
        and found.key == copy.key
    ]
    return sorted(mine, key=natural)


def _copies(
    folder: Folder, reader: Reader, subject: re.Pattern[str], header_person: bool
) -> list[Copy]:
    images = [name for name in folder.names if form_of(name)]
    if not images:
        return []
    where = place(folder.path, subject)
    groups: dict[tuple[str, str], tuple[ImageId, list[str]]] = {}
    for name in images:
        if (image := id_of(name, where.folder_id)) is not None:
            groups.setdefault((image.key, form_of(name)), (image, []))[1].append(name)
    found = []
    for (_, form), (image, names) in groups.items():
        names.sort(key=natural)
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
    except UNREADABLE:
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


def _one_content(index: Index, key: str, copies: list[Copy], reader: Reader) -> list[Copy]:
    """The copies, the fullest first; a conflict is noted if two of them differ."""
    copies = sorted(copies, key=lambda c: (-c.count, c.source, c.archive, c.folder, c.form))
    people = {copy.subject for copy in copies}
    if len(people) > 1:
        index.conflicts[key] = f"lies in the folders of {len(people)} people"
        return copies
    try:
        contents = [_content(copy, reader) for copy in copies]
    except UNREADABLE:
        index.conflicts[key] = "lies in two places, of which one cannot be read"
        return copies
    if any(not content.items() <= contents[0].items() for content in contents[1:]):
        index.conflicts[key] = f"lies in {len(copies)} places with different contents"
    return copies


def _content(copy: Copy, reader: Reader) -> dict[str, str]:
    """SHA-256 of the file, or of the voxels of each slice of a DICOM series, by its number."""
    found: dict[str, str] = {}
    for name in names_of(copy, reader):
        path = f"{copy.folder}/{name}" if copy.folder else name
        content = reader.read(copy.source, copy.archive, path)
        if copy.form != "dicom":
            found[copy.form] = hashlib.sha256(content).hexdigest()
            continue
        dataset = dicom_dataset(content, pixels=True)
        if dataset is None or "PixelData" not in dataset:
            raise EOFError
        number = str(dataset.get("InstanceNumber", ""))
        found[number] = hashlib.sha256(dataset.PixelData).hexdigest()
    return found


def names_of(copy: Copy, reader: Reader) -> list[str]:
    """The files of a copy, in natural order.

    Raises:
        OSError, zipfile.BadZipFile: its place cannot be looked into any more.
    """
    return files_of(copy, reader.names(copy.source, copy.archive, copy.folder))


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
