"""Files of a result: their names, atomic writing, what is done already, what failed."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.files import temporary_beside
from mri2pet.synthesis.sidecar import FORMAT

if TYPE_CHECKING:
    import nibabel

FAILURES = "failures.tsv"
GZIP_LEVEL = 4
ENTITIES = "trc-18FAV45_space-T1w_desc-synthetic"  # of all files, behind the subject's

Writer = Callable[[BinaryIO], Any]


@dataclass(frozen=True)
class OutputPaths:
    """The files of one subject in one folder. Only `sidecar` marks the subject as done.

    `std_sidecar` is there in the tree of a BIDS derivative alone, which asks for one.
    """

    folder: Path
    pet: Path
    std: Path
    sidecar: Path
    report: Path
    regions: Path
    std_sidecar: Path | None = None

    @classmethod
    def of(cls, out: Path, stem: str) -> OutputPaths:
        """In OUT/<stem>/."""
        base = f"{stem}_{ENTITIES}"
        return cls._named(out / stem, base, report="report.html")

    @classmethod
    def in_dataset(cls, out: Path, stem: str) -> OutputPaths:
        """In OUT/sub-…/[ses-…/]pet/; `stem` is `sub-…[_ses-…]`, as a BIDS derivative names it."""
        base = f"{stem}_{ENTITIES}"
        folder = out.joinpath(*stem.split("_"), "pet")
        named = cls._named(folder, base, report=f"{base}_report.html")
        return replace(named, std_sidecar=folder / f"{base}std_pet.json")

    @classmethod
    def _named(cls, folder: Path, base: str, report: str) -> OutputPaths:
        return cls(
            folder=folder,
            pet=folder / f"{base}_pet.nii.gz",
            std=folder / f"{base}std_pet.nii.gz",
            sidecar=folder / f"{base}_pet.json",
            report=folder / report,
            regions=folder / f"{base}_regions.tsv",
        )


Layout = Callable[[Path, str], OutputPaths]
"""OUT and a subject's stem → where its files lie."""


def check_output_folder(out: Path) -> list[Path]:
    """Create the output folder and write a byte in it; the folders this made, innermost first.

    Raises:
        Mri2petError: the folder cannot be made or written to.
    """
    made = []
    try:
        for folder in (out, *out.absolute().parents):
            if folder.exists():
                break
            made.append(folder)
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".mri2pet-{os.getpid()}.part"
        try:
            probe.write_bytes(b"0")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        remove_if_empty(made)
        raise Mri2petError(
            f"{out}: cannot write to the output folder ({_reason(error)}); choose another one"
        ) from None
    return made


def check_names(out: Path, stems: Sequence[str], layout: Layout = OutputPaths.of) -> None:
    """Refuse names that the file system of an existing output folder cannot hold.

    Raises:
        UsageError: with the length and the limit.
    """
    longest_name = os.pathconf(out, "PC_NAME_MAX")
    longest_path = os.pathconf(out, "PC_PATH_MAX")
    for stem in stems:
        longest = layout(out.resolve(), stem).std
        for what, length, limit in (
            ("name", len(os.fsencode(longest.name)), longest_name),
            ("path", len(os.fsencode(longest)), longest_path),
        ):
            if length > limit:
                raise UsageError(
                    f"{stem}: the {what} of its results would have {length} bytes, and the file "
                    f"system takes {limit}; shorten the image's name by {length - limit}"
                )


def remove_if_empty(folders: Sequence[Path]) -> None:
    """Remove the folders, innermost first, up to the first that is in use."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def write_together(files: Mapping[Path, Writer]) -> None:
    """Write all files of a result, or none.

    Each goes to a hidden file beside its name and to the disk; when all are complete they are
    renamed in the order given. The last one is the mark of a complete result: an old one is
    removed before the first rename, so that it never vouches for files of another run.

    Raises:
        Mri2petError: the disk is full or refuses; nothing has changed under the final names.
    """
    *_, mark = files
    parts: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            parts[path] = temporary_beside(path)
            with open(parts[path], "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        mark.unlink(missing_ok=True)
        for path, part in parts.items():
            part.chmod(0o644)
            os.replace(part, path)
    except OSError as error:
        raise Mri2petError(
            f"{mark.parent}: cannot write the results ({_reason(error)}); "
            "make room or choose another output folder, then run the same command again"
        ) from None
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        remove_if_empty([mark.parent])


def packed_image(image: nibabel.Nifti1Image) -> bytes:
    """`.nii.gz` bytes that depend on the image alone, not on the time or a file name."""
    stream = io.BytesIO()
    with gzip.GzipFile("", "wb", GZIP_LEVEL, fileobj=stream, mtime=0) as packed:
        image.to_stream(packed)
    return stream.getvalue()


def image_writer(image: nibabel.Nifti1Image) -> Writer:
    """Writes what `packed_image` gives."""
    return lambda stream: stream.write(packed_image(image))


def packed_writer(packed: Future[bytes]) -> Writer:
    """Writes bytes that are being made elsewhere."""
    return lambda stream: stream.write(packed.result())


def text_writer(text: str) -> Writer:
    """Writes the text in UTF-8."""
    return lambda stream: stream.write(text.encode())


def find_done(
    paths: OutputPaths, image: Mapping[str, str], model_sha256: str, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The sidecar of an earlier result with the same image, model and settings, if complete.

    Raises:
        InputError: the folder holds the result of another image from another file.
    """
    try:
        sidecar = json.loads(paths.sidecar.read_text())
        earlier = sidecar["input"]
        model = sidecar["model"]["sha256"]
        same_image = earlier["sha256"] == image["sha256"]
        same_file = earlier["place"] == image["place"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same_image and not same_file:
        raise InputError(
            f"{image['file']}: {paths.folder} already holds the result of {earlier['file']}; "
            "choose another output folder, or remove that one first"
        )
    names = sidecar.get("outputs", {})
    complete = "pet" in names and all((paths.folder / name).is_file() for name in names.values())
    same_settings = model == model_sha256 and sidecar.get("settings") == dict(settings)
    same_settings = same_settings and sidecar.get("format") == FORMAT
    return sidecar if same_image and same_settings and complete else None


def write_failures(out: Path, failures: Sequence[tuple[str, str]]) -> Path | None:
    """`failures.tsv` of this run: file and reason. Without failures an old one is removed."""
    path = out / FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return None
    rows = [("file", "reason"), *failures]
    text = "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in rows)
    write_together({path: text_writer(text)})
    return path


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return error.strerror or str(error)
