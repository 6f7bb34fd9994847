"""Names of files and folders in a download of the archive that keeps ADNI and PPMI."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORMS = {
    ".dcm": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".v": "ecat",
    ".img": "other",
    ".hdr": "other",
    ".i": "other",
    ".mnc": "other",
}
_FOLDER_ID = re.compile(r"([ISD])(\d+)$")
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:_(\d\d)_(\d\d)_(\d\d)(?:\.\d+)?)?$")
_ID = re.compile(r"([ID]?)\s*(\d+)(?:\.0+)?$", re.IGNORECASE)
_EXTENSION = re.compile(r"\.nii\.gz$|\.[^.]*$")


@dataclass(frozen=True, slots=True)
class ImageId:
    """`I123`: the key of an image is its number, whatever letter a list gives it.

    `S123`, a series, is none: it stands where old downloads have nothing else.
    """

    letter: str
    number: int

    @property
    def key(self) -> str:
        return f"S{self.number}" if self.letter == "S" else str(self.number)

    def __str__(self) -> str:
        return f"{self.letter or 'I'}{self.number}"

    @classmethod
    def of(cls, text: str) -> ImageId | None:
        """What a table gives as the id of an image: `I123`, `D123`, `123` or `123.0`."""
        found = _ID.match(text.strip())
        return cls(found.group(1).upper(), int(found.group(2))) if found else None


@dataclass(frozen=True, slots=True)
class Place:
    """What the folders above an image say; '' where they say nothing."""

    subject: str
    description: str
    date: str
    time: str
    folder_id: ImageId | None


def place(folder: str, subject: re.Pattern[str]) -> Place:
    """Reads `…/<subject>/<description>/<date>/<id>`, of which parts may be missing."""
    parts = folder.split("/")
    folder_id = folder_id_of(folder)
    if folder_id is not None:
        parts = parts[:-1]
    date = time = description = ""
    if parts and (found := _DATE.match(parts[-1])):
        date = found.group(1)
        time = ":".join(found.group(2, 3, 4)) if found.group(2) else ""
        parts = parts[:-1]
    person = next((p for p in reversed(parts) if subject.fullmatch(p)), "")
    if person and date and parts[-1] != person:
        description = parts[-1]
    return Place(person, description, date, time, folder_id)


def folder_id_of(folder: str) -> ImageId | None:
    """The id that the last folder of a path is, for files that name none."""
    found = _FOLDER_ID.match(folder.rpartition("/")[2])
    return ImageId(found.group(1), int(found.group(2))) if found else None


def form_of(name: str) -> str:
    """`dicom`, `nifti`, `ecat`, `other` (an image that is not read) or '' (no image)."""
    lower = name.lower()
    if lower.endswith(".nii.gz"):
        return "nifti"
    found = _EXTENSION.search(lower)
    return FORMS.get(found.group(), "") if found else ""


def id_of(name: str, folder_id: ImageId | None) -> ImageId | None:
    """The id at the end of a file's name; the folder's where the name has none."""
    stem = _EXTENSION.sub("", name)
    found = re.search(r"_([ID])(\d+)$", stem)
    return ImageId(found.group(1), int(found.group(2))) if found else folder_id


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `_2_` before `_10_`."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]
