"""Tab-separated tables and files that are either whole or absent."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

PART = ".part-"  # begins every temporary name, then the machine's and the process's number
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its final name when the block ends well.

    Two writers of the same file do not meet: each has its own temporary name, the last one wins.
    What a writer that was killed on this machine left in the folder goes first.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A new, empty file in the folder of `path`, which is made where it is missing.

    What a writer that was killed on this machine left in the folder goes first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.resolve())
    prefix = f"{PART}{_HOST}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file whole, and to the disk before it takes its name."""
    with written_whole(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def is_leftover(path: Path) -> bool:
    """Whether a file is what a writer left that did not come to its end, or is still at work."""
    return path.name.startswith(PART)


@cache
def _remove_leftovers(folder: Path) -> None:
    """Once a process and folder: temporary files of processes of this machine that are gone."""
    for path in folder.glob(f"{PART}{_HOST}-*"):
        process = path.name.removeprefix(f"{PART}{_HOST}-").partition("-")[0]
        if process.isdigit() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def read_tsv(path: Path) -> list[dict[str, str]]:
    """The rows of a table as dictionaries; an absent table has no rows; `n/a` reads as ''."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [{k: _text(v) for k, v in row.items() if k} for row in rows]


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows in the given column order; None is written as `n/a`. Whole or not at all."""
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(column)) for column in columns])


def number(text: str | None) -> float | None:
    """A table cell as a number, or None when it holds none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(cell: str | None) -> str:
    return "" if cell is None or cell.strip().lower() == "n/a" else cell.strip()


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\t", " ").replace("\n", " ")
