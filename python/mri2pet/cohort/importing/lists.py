"""Lists of images that the archive's pages and study tables offer, in four generations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mri2pet.cohort.importing.days import day_first, read_day
from mri2pet.cohort.importing.loni import ImageId
from mri2pet.errors import InputError
from mri2pet.tables import read_header, read_table

_COLUMNS = {
    "image": ("imagedataid", "imageid", "imageuid"),
    "subject": ("subject", "subjectid"),
    "description": ("description", "sequence", "imagedescription", "seriesdescription"),
    "date": ("acqdate", "scandate", "imagedate", "studydate"),
    "type": ("type", "origproc", "imagetype"),
    "modality": ("modality",),
    "group": ("group", "researchgroup"),
    "sex": ("sex",),
    "age": ("age",),
    "visit": ("visit", "imagevisit", "viscode2"),
    "series": ("seriesid",),
    "field_strength": ("magstrength",),
    "phase": ("phase", "colprot"),
}


@dataclass(slots=True)
class Listed:
    """An image as the lists have it; '' where none says anything.

    `people` and `dates` hold what differs between lists.
    """

    image: str
    subject: str = ""
    description: str = ""
    type: str = ""
    modality: str = ""
    group: str = ""
    sex: str = ""
    age: str = ""
    visit: str = ""
    series: str = ""
    field_strength: str = ""
    phase: str = ""
    people: tuple[str, ...] = ()
    dates: tuple[date, ...] = ()


def is_image_list(path: Path) -> bool:
    """Whether a table's header is that of a list: an image, a person and a description."""
    try:
        columns = {_plain(name) for name in read_header(path)}
    except InputError:
        return False
    return all(columns & set(_COLUMNS[field]) for field in ("image", "subject", "description"))


def read_lists(paths: Sequence[Path], notes: list[str]) -> dict[str, Listed]:
    """Key of an image → what the lists say; of two lists the first fills, by their names.

    Raises:
        InputError: a list cannot be read, or is none.
    """
    found: dict[str, Listed] = {}
    for path in sorted(paths, key=lambda p: (p.name, str(p))):
        rows = read_table(path)
        if not rows:
            continue
        columns = _columns(rows[0])
        if not {"image", "subject"} <= set(columns):
            raise InputError(
                f"{path}: is no list of images; its header must name an image id and a subject."
            )
        european = day_first(row[c] for c in columns.get("date", ()) for row in rows)
        if european:
            notes.append(f"{path.name}: its dates are read as day/month/year")
        modality = _modality_of(path)
        for row in rows:
            _add(found, row, columns, modality, european)
    return found


def _add(
    found: dict[str, Listed],
    row: dict[str, str],
    columns: dict[str, tuple[str, ...]],
    modality: str,
    european: bool,
) -> None:
    cells = {field: next((row[c] for c in names if row[c]), "") for field, names in columns.items()}
    image = ImageId.of(cells.pop("image", ""))
    if image is None:
        return
    day = read_day(cells.pop("date", ""), day_first=european)
    cells["modality"] = cells.get("modality") or modality
    listed = found.setdefault(image.key, Listed(str(image)))
    for field, text in cells.items():
        if text and not getattr(listed, field):
            setattr(listed, field, text)
    if cells.get("subject") and cells["subject"] not in listed.people:
        listed.people = (*listed.people, cells["subject"])
    if day is not None and all(abs((day - other).days) > 1 for other in listed.dates):
        listed.dates = (*listed.dates, day)


def _columns(row: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Field → its columns, the most telling first."""
    named: dict[str, list[tuple[int, str]]] = {}
    for column in row:
        for field, names in _COLUMNS.items():
            if _plain(column) in names:
                named.setdefault(field, []).append((names.index(_plain(column)), column))
    return {field: tuple(c for _, c in sorted(found)) for field, found in named.items()}


def _modality_of(path: Path) -> str:
    """Of a list without that column, by the list's own name."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    if "pet" in words:
        return "PET"
    return "MRI" if {"mri", "mpragemeta"} & set(words) else ""


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())
