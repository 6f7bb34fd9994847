"""Folders and zips as users name them: walked once, read without unpacking."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mri2pet.cohort.importing.loni import ImageId, folder_id_of, id_of
from mri2pet.cohort.importing.zips import ZipDirectory, kept_directory
from mri2pet.errors import InputError, UsageError
from mri2pet.files import is_leftover

MAX_MEMBER_BYTES = 4 << 30
MAX_NAMES = 500_000  # of one folder, that are held at a time: some 80 MiB
_Below = tuple[Path, frozenset[str]]  # a folder, and the real paths of those above it


@dataclass(frozen=True)
class Folder:
    """The files of one folder. `archive` is the zip it lies in, relative to the source, or ''.

    `path` is relative to the source or the zip; `names` are sorted. A folder of very many files
    comes in parts; those of one image are always in one.
    """

    source: int
    archive: str
    path: str
    names: tuple[str, ...]


class Sources:
    """What the user named, in that order; each has a name of its own for tables.

    Raises:
        UsageError: one of them is missing, or no folder and no zip.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.paths = [Path(path) for path in paths]
        self.names: list[str] = []
        for path in self.paths:
            if not path.is_dir() and not (path.is_file() and _is_zip(path.name)):
                raise UsageError(f"{path}: is no folder and no .zip file; check the path")
            name = path.resolve().name
            times = sum(other.partition("#")[0] == name for other in self.names)
            self.names.append(f"{name}#{times + 1}" if times else name)

    def walk(
        self, watched: list[tuple[str, int, int]] | None = None, *, into_zips: bool = True
    ) -> Iterator[Folder]:
        """Every folder that holds files, also those in zips, in the order of their names.

        Without `into_zips` a zip is a file like others. `watched` gets what tells whether
        anything was changed: see `changed`.
        """
        for number, path in enumerate(self.paths):
            if path.is_dir():
                yield from self._walk(number, path, watched, into_zips)
            elif into_zips:
                self._watch(watched, number, "", path)
                yield from self._in_zip(number, "", path)

    def real(self, source: int, archive: str) -> Path:
        """The source, or the zip in it."""
        return self.paths[source] / archive if archive else self.paths[source]

    def shown(self, source: int, archive: str, path: str) -> str:
        """How tables name a place: never an absolute path."""
        return "/".join(filter(None, [self.names[source], archive, path]))

    def is_in_zip(self, source: int, archive: str) -> bool:
        return bool(archive) or not self.paths[source].is_dir()

    def changed(self, watched: Sequence[tuple[str, int, int]]) -> bool:
        """Whether a folder, zip or single file is another than `walk` saw."""
        for name, size, time in watched:
            number, _, relative = name.partition(":")
            try:
                place = self.paths[int(number)] / relative
                state = place.stat()
            except (OSError, IndexError):
                return True
            if (0 if place.is_dir() else state.st_size, state.st_mtime_ns) != (size, time):
                return True
        return False

    def _walk(
        self,
        number: int,
        root: Path,
        watched: list[tuple[str, int, int]] | None,
        into_zips: bool,
    ) -> Iterator[Folder]:
        waiting = [(root, frozenset({os.path.realpath(root)}))]
        while waiting:
            folder, above = waiting.pop()
            relative = "" if folder == root else folder.relative_to(root).as_posix()
            self._watch(watched, number, relative, folder)
            try:
                files, zips, inner, count = _entries(folder, above, into_zips)
                waiting.extend(sorted(inner, key=lambda item: item[0].name, reverse=True))
                if files:
                    yield Folder(number, "", relative, tuple(sorted(files)))
                del files
                for names in _in_parts(folder, relative, count, into_zips):
                    yield Folder(number, "", relative, names)
            except OSError as error:
                shown = self.shown(number, "", relative)
                raise InputError(
                    f"{shown}: cannot be looked into ({error.strerror}); check the disk and the "
                    "rights, then run the same command again."
                ) from None
            for name in sorted(zips):
                archive = str(PurePosixPath(relative) / name)
                self._watch(watched, number, archive, folder / name)
                yield from self._in_zip(number, archive, folder / name)

    def _in_zip(self, number: int, archive: str, path: Path) -> Iterator[Folder]:
        directory = opened_zip(path, self.shown(number, archive, ""))
        for folder in directory.folders():
            parts = PurePosixPath(folder).parts
            if any(part.startswith(".") or part == "__MACOSX" for part in parts):
                continue
            names = sorted(n for n in directory.members(folder) if not n.startswith("."))
            if names:
                yield Folder(number, archive, folder, tuple(names))

    def _watch(
        self, watched: list[tuple[str, int, int]] | None, number: int, name: str, path: Path
    ) -> None:
        if watched is not None:
            state = path.stat()
            size = 0 if path.is_dir() else state.st_size
            watched.append((f"{number}:{name}", size, state.st_mtime_ns))


class Reader:
    """Bytes of files of the sources; each process keeps the directory of the last zip it read."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def size(self, source: int, archive: str, path: str) -> int:
        """Bytes of a file when it is unpacked.

        Raises:
            OSError, KeyError, zipfile.BadZipFile: it is not there.
        """
        if self.sources.is_in_zip(source, archive):
            return self._directory(source, archive).member(path).file_size
        return (self.sources.paths[source] / path).stat().st_size

    def read(self, source: int, archive: str, path: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """A file, or its first `limit` bytes.

        Raises:
            OSError, KeyError, EOFError, zlib.error, zipfile.BadZipFile: it cannot be read.
        """
        if self.sources.is_in_zip(source, archive):
            return self._directory(source, archive).read(path, limit)
        with (self.sources.paths[source] / path).open("rb") as file:
            return file.read(limit)

    def names(self, source: int, archive: str, folder: str) -> list[str]:
        """The files of a folder.

        Raises:
            OSError, zipfile.BadZipFile: it is not there.
        """
        if self.sources.is_in_zip(source, archive):
            return list(self._directory(source, archive).members(folder))
        return [path.name for path in (self.sources.paths[source] / folder).iterdir()]

    def time(self, source: int, archive: str, folder: str) -> int:
        """When a folder, or the zip it lies in, was changed, ns.

        Raises:
            OSError: it is not there.
        """
        inside = not self.sources.is_in_zip(source, archive)
        place = self.sources.real(source, archive)
        return (place / folder if inside else place).stat().st_mtime_ns

    def _directory(self, source: int, archive: str) -> ZipDirectory:
        return _kept(self.sources.real(source, archive))


def _entries(
    folder: Path, above: frozenset[str], into_zips: bool
) -> tuple[list[str], list[str], list[_Below], int]:
    """Files, zips, inner folders, and how many files there are: of too many, none is listed."""
    files: list[str] = []
    zips: list[str] = []
    inner: list[_Below] = []
    count = 0
    for entry in _visible(folder):
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if real not in above:
                inner.append((folder / entry.name, above | {real}))
        elif into_zips and _is_zip(entry.name):
            zips.append(entry.name)
        else:
            count += 1
            if count <= MAX_NAMES:
                files.append(entry.name)
    return files if count <= MAX_NAMES else [], zips, inner, count


def _in_parts(
    folder: Path, relative: str, count: int, into_zips: bool
) -> Iterator[tuple[str, ...]]:
    """The names of too many files in parts, for each of which the folder is listed again."""
    parts, own = -(-count // MAX_NAMES), folder_id_of(relative)
    for part in range(parts) if parts > 1 else ():
        yield tuple(
            sorted(
                entry.name
                for entry in _visible(folder)
                if _part_of(entry.name, own, parts) == part
                and not entry.is_dir()
                and not (into_zips and _is_zip(entry.name))
            )
        )


def _part_of(name: str, folder_id: ImageId | None, parts: int) -> int:
    image = id_of(name, folder_id)
    return zlib.crc32(image.key.encode()) % parts if image is not None else 0


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name != "__MACOSX":
                yield entry


def opened_zip(path: Path, shown: str) -> ZipDirectory:
    """A zip, of which only the directory is read.

    Raises:
        InputError: it ends early or is no zip; the message names it as `shown`.
    """
    try:
        return _kept(path)
    except (OSError, zipfile.BadZipFile):
        raise InputError(f"{shown}: ends early or is no zip; download it again.") from None


def _kept(path: Path) -> ZipDirectory:
    state = path.stat()
    return kept_directory(str(path), state.st_size, state.st_mtime_ns)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip") and not is_leftover(Path(name))
