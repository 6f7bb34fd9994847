"""What an import did so far: it goes on from there after it was killed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri2pet.cohort.importing.convert import PASSING, Done
from mri2pet.cohort.importing.decision import Decision
from mri2pet.errors import UsageError
from mri2pet.files import write_atomically


@dataclass(frozen=True)
class Entry:
    """An image that was opened: its state in the source, and what became of it."""

    image: str
    state: str
    file: str
    done: Done


class Record:
    """`sourcedata/converted.jsonl`: a line an image, appended as they are done, sorted at the end.

    A line that a kill cut short does not count; its image is made again. Nor does a fault of the
    disk or network: the image is tried again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, Entry] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                tree = json.loads(line)
                done = tree["done"] | {"seconds": tuple(tree["done"]["seconds"])}
                entry = Entry(tree["image"], tree["state"], tree["file"], Done(**done))
            except (ValueError, KeyError, TypeError):
                continue
            if entry.done.note not in PASSING:
                self.entries[entry.image] = entry

    def add(self, entry: Entry) -> None:
        self.entries[entry.image] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(b"\n" if _torn(self._path) else b"")
            file.write(_line(entry))

    def finish(self, keep: set[str]) -> None:
        """Written anew, whole and sorted, with the images of `keep`."""
        self.entries = {image: e for image, e in self.entries.items() if image in keep}
        lines = (_line(self.entries[image]) for image in sorted(self.entries))
        write_atomically(self._path, b"".join(lines))


def state_of(decision: Decision) -> str:
    """What of an image's source must stay the same for its output to be kept."""
    copy = decision.copy
    assert copy is not None
    return f"{copy.form} {copy.count} {copy.bytes}"


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
