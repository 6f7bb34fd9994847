"""What an import did so far: it goes on from there after it was killed."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri2pet.cohort.importing.convert import PASSING, Done
from mri2pet.cohort.importing.decision import Decision
from mri2pet.cohort.importing.names import Names
from mri2pet.errors import UsageError
from mri2pet.files import write_atomically

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """An image that was opened: its state in the source, and what became of it.

    `image` is what `Names.line` calls it, `file` where it was written, as the output names it.
    """

    image: str
    state: str
    file: str
    done: Done


class Record:
    """`sourcedata/converted.jsonl`: a line an image, appended as they are done, sorted at the end.

    A line that a kill cut short does not count; its image is made again. Nor does a fault of the
    disk or network: the image is tried again. Of two images of one file the later made is in it.
    """

    def __init__(self, path: Path, names: Names) -> None:
        self._path, self._names = path, names
        self._entries: dict[str, Entry] = {}
        self._in_file: dict[str, str] = {}
        self._foreign = False
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                tree = json.loads(line)
                done = tree["done"] | {"seconds": tuple(tree["done"]["seconds"])}
                entry = Entry(tree["image"], tree["state"], tree["file"], Done(**done))
            except (ValueError, KeyError, TypeError):
                self._foreign |= names.hidden
                continue
            if names.hidden and not _HASH.fullmatch(entry.image):
                self._foreign = True
            elif entry.done.note not in PASSING:
                self._hold(entry)

    def of(self, image: str) -> Entry | None:
        """The entry of an image by its id, None if it was not opened."""
        return self._entries.get(self._names.line(image))

    def add(self, image: str, state: str, file: str, done: Done) -> None:
        """Appends what became of an image."""
        entry = Entry(self._names.line(image), state, file, done)
        self._hold(entry)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file_:
            file_.write(b"\n" if _torn(self._path) else b"")
            file_.write(_line(entry))

    def faults(self) -> dict[str, tuple[str, str, str]]:
        """Image → state of its source, reason and note, of those that could not be used."""
        known = self._names.images_by_line()
        return {
            known.get(line, line): (entry.state, entry.done.reason, entry.done.note)
            for line, entry in self._entries.items()
            if entry.done.reason
        }

    def name_by(self, names: Names) -> None:
        """Takes names that know more images; those it knew are called as before."""
        self._names = names

    def forget_foreign(self) -> None:
        """Removes lines that name images as no line with pseudonyms may."""
        if self._foreign:
            self._write()

    def finish(self, keep: set[str]) -> None:
        """Written anew, whole and sorted, with the images of `keep`."""
        lines = {self._names.line(image) for image in keep}
        self._entries = {line: e for line, e in self._entries.items() if line in lines}
        self._write()

    def _write(self) -> None:
        lines = (_line(self._entries[line]) for line in sorted(self._entries))
        write_atomically(self._path, b"".join(lines))

    def _hold(self, entry: Entry) -> None:
        if not entry.done.reason:
            other = self._in_file.get(entry.file)
            if other is not None and other != entry.image:
                self._entries.pop(other, None)
            self._in_file[entry.file] = entry.image
        self._entries[entry.image] = entry


def state_of(decision: Decision) -> str:
    """What of an image's source must stay the same for its output to be kept."""
    copy = decision.copy
    assert copy is not None
    return " ".join(filter(None, (copy.form, str(copy.count), str(copy.bytes), decision.content)))


def check_options(path: Path, options: dict[str, Any], sources: list[str]) -> None:
    """Refuses other options than those that the same output was imported with.

    More sources are no other options.

    Raises:
        UsageError: the output is of another import, or holds something else.
    """
    root = path.parents[1]
    if not path.exists():
        if root.is_dir() and any(p.name != "sourcedata" for p in root.iterdir()):
            raise UsageError(f"{root}: holds something else; name an empty folder for the import")
        return
    try:
        old = json.loads(path.read_text())
        before, old_sources = old["options"], old["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: cannot be read; import into an empty folder") from None
    other = [name for name in options if before.get(name) != options[name]]
    if other:
        raise UsageError(
            f"{root}: was imported with another {', '.join(other)}; use the same options, or an "
            "empty folder"
        )
    if not set(old_sources) <= set(sources):
        gone = ", ".join(sorted(set(old_sources) - set(sources)))
        if options["pseudonyms"]:
            raise UsageError(
                f"{root}: was imported from other sources or with another key; name all its "
                "sources and its key again, or an empty folder"
            )
        raise UsageError(f"{root}: was imported from {gone} too; name all its sources again")


def keep_options(path: Path, options: dict[str, Any], sources: list[str]) -> None:
    """Writes the options of an import down before its first image is made."""
    old = json.loads(path.read_text()) if path.exists() else {}
    write_atomically(path, _json({**old, "options": options, "sources": sources}))


def _line(entry: Entry) -> bytes:
    return json.dumps(asdict(entry), sort_keys=True).encode() + b"\n"


def _torn(path: Path) -> bool:
    """Whether the file's last line was cut short."""
    size = os.path.getsize(path)
    if not size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _json(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, indent=2, sort_keys=True).encode() + b"\n"
