"""From what a user names (files, folders, images in memory) to one entry per subject."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.dicom.reading import DicomInput, is_dicom
from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target

if TYPE_CHECKING:
    import nibabel

    from mri2pet.imaging.files.reading import T1Image

    Input = str | os.PathLike[str] | nibabel.spatialimages.SpatialImage

FOLDER_SUFFIXES = (".nii.gz", ".nii", ".mgz")
SUFFIXES = (*FOLDER_SUFFIXES, ".mgh", ".img.gz", ".hdr.gz", ".img", ".hdr")
OWN_OUTPUT = re.compile(r"_desc-synthetic(std)?_pet\.")
DATASET_DESCRIPTION = "dataset_description.json"
RAW_DATASET = "raw"  # what results call the dataset that they were made from
ENTITY_FOLDER = re.compile(r"(sub|ses)-[0-9A-Za-z]+")


@dataclass(frozen=True)
class SubjectInput:
    """One T1-weighted image, the name its results go by, and the named folder that held it.

    `source` is a path, a nibabel image, a T1 that was read, or DICOM, whose `note` says which
    series is taken. `uri` is the image's BIDS URI, where the folder is a BIDS dataset.
    """

    source: Any
    stem: str
    folder: Path | None = None
    note: str = ""

    @property
    def uri(self) -> str | None:
        if self.folder is None or not (self.folder / DATASET_DESCRIPTION).is_file():
            return None
        return f"bids:{RAW_DATASET}:{self.name}"

    @property
    def name(self) -> str:
        """The file by its name, or by its path in the folder that the user named."""
        if not isinstance(self.source, Path):
            return self.stem
        if self.folder is None:
            return self.source.name
        return self.source.relative_to(self.folder).as_posix()

    @property
    def label(self) -> str:
        """The path as the user will recognise it, or the stem of an image in memory."""
        if isinstance(self.source, DicomInput):
            return str(self.source.path)
        return str(self.source) if isinstance(self.source, Path) else self.stem

    def read(self, *, assume_ras: bool = False) -> T1Image:
        """The T1.

        Raises:
            InputError: it cannot be used.
        """
        from mri2pet.imaging.files.reading import T1Image, read_t1

        if isinstance(self.source, T1Image):
            return self.source
        if not isinstance(self.source, DicomInput):
            return read_t1(self.source, assume_ras=assume_ras)
        return self.source.t1(self.stem)


def find_inputs(
    inputs: Input | Sequence[Input],
    out: Path | None = None,
    *,
    series: int | None = None,
    acquisition: str | None = None,
    echo: str | None = None,
) -> list[SubjectInput]:
    """The subjects behind files, folders and nibabel images, in a stable order.

    A folder stands for its `*_T1w` images, or for all its NIfTI and MGZ images where none is
    named so, at any depth, also below folders that are links. Derivatives, hidden folders,
    earlier results of this program and the output folder `out` are left out. A file named twice
    counts once, and so does a folder that two links lead to. A folder with none of these images
    but with DICOM files, a zip archive of them and a DICOM file stand for one T1 each, which
    `series`, `acquisition` and `echo` may narrow down (`mri2pet.dicom.reading`).

    Raises:
        InputError: a folder without a usable image.
        UsageError: nothing is named, two images would get the same output names, or a DICOM
            series is named and there is no DICOM.
    """
    if isinstance(inputs, (str, os.PathLike)) or not isinstance(inputs, Sequence):
        inputs = [inputs]
    if not inputs:
        raise UsageError("no T1-weighted image is given")
    subjects: list[SubjectInput] = []
    for number, item in enumerate(inputs, start=1):
        if not isinstance(item, (str, os.PathLike)):
            subjects.append(_image_in_memory(item, number, len(inputs)))
        elif os.path.isdir(path := Path(item)) and (images := _search(path, out)):
            subjects.extend(SubjectInput(found, output_stem(found), path) for found in images)
        elif is_dicom(path):
            dicom = DicomInput(path, series, acquisition, echo)
            stem, note = dicom.look()
            subjects.append(SubjectInput(dicom, stem, note=note))
        elif os.path.isdir(path):
            raise _no_image(path)
        else:
            subjects.append(SubjectInput(path, output_stem(path)))
    named = (series, acquisition, echo) != (None, None, None)
    if named and not any(isinstance(subject.source, DicomInput) for subject in subjects):
        raise UsageError("--series, --acquisition and --echo choose within DICOM; none is given")
    subjects = _without_repeats(subjects)
    _refuse_collisions(subjects)
    return subjects


def output_stem(path: Path) -> str:
    """The name of the results of an image: its own without suffixes and a trailing `_T1w`.

    Where the name carries no BIDS subject but the folders above do (`sub-01/ses-02/anat`),
    their entities come first, so that equal file names of several subjects stay apart.
    """
    name = path.name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    stem = name.removesuffix("_T1w") or "T1w"
    if stem.startswith("sub-"):
        return stem
    folders = [part for part in path.absolute().parts[-4:-1] if ENTITY_FOLDER.fullmatch(part)]
    return "_".join([*folders, stem])


def _search(folder: Path, out: Path | None) -> list[Path]:
    own = _real(out) if out is not None else None
    skip = own if own is not None and _real(folder) in own.parents else None
    images = [path for path in _images_below(folder) if skip not in _real(path).parents]
    return [path for path in images if re.search(r"_T1w\.", path.name)] or images


def _no_image(folder: Path) -> InputError:
    missing = next(filter(None, map(missing_target, _files_below(folder))), None)
    hint = missing or "name the image itself"
    return InputError(
        f"{folder}: no T1-weighted NIfTI or MGZ image and no DICOM file in this folder; {hint}"
    )


def _real(path: Path) -> Path:
    """Where a path leads; a link that leads back to itself stays as it is."""
    return Path(os.path.realpath(path))


def _images_below(folder: Path) -> Iterable[Path]:
    for path in _files_below(folder):
        usable = path.name.lower().endswith(FOLDER_SUFFIXES) and not path.name.startswith(".")
        if usable and not OWN_OUTPUT.search(path.name):
            yield path


def _files_below(folder: Path) -> Iterable[Path]:
    """The files of a folder in a stable order.

    Links are followed, but not back up; each folder is seen once.
    """
    seen = {_identity(above) for above in folder.resolve().parents}
    for parent, folders, files in os.walk(folder, followlinks=True):
        if _identity(Path(parent)) in seen:
            folders.clear()
            continue
        seen.add(_identity(Path(parent)))
        folders[:] = sorted(f for f in folders if f != "derivatives" and not f.startswith("."))
        yield from (Path(parent) / name for name in sorted(files))


def _identity(folder: Path) -> tuple[int, int]:
    """What a folder is, by whatever path it is reached."""
    place = folder.stat()
    return place.st_dev, place.st_ino


def _image_in_memory(image: Any, number: int, total: int) -> SubjectInput:
    filename = image.get_filename() if hasattr(image, "get_filename") else None
    if filename:
        return SubjectInput(image, output_stem(Path(filename)))
    return SubjectInput(image, f"image-{number}" if total > 1 else "image")


def _without_repeats(subjects: list[SubjectInput]) -> list[SubjectInput]:
    unique: dict[Any, SubjectInput] = {}
    for subject in subjects:
        source: Any = subject.source
        source = source.path if isinstance(source, DicomInput) else source
        key = os.path.abspath(source) if isinstance(source, Path) else id(source)
        unique.setdefault(key, subject)
    return list(unique.values())


def _refuse_collisions(subjects: list[SubjectInput]) -> None:
    taken: dict[str, SubjectInput] = {}
    for subject in subjects:
        other = taken.setdefault(subject.stem.casefold(), subject)
        if other is not subject:
            raise UsageError(
                f"{other.label} and {subject.label} would both be written as {subject.stem!r}; "
                "rename one, or run them apart with two output folders"
            )
