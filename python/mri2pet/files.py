"""Files that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

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


def missing_target(path: Path) -> str | None:
    """The sentence for a path that is a link, or lies below one, whose target is not there.

    So git-annex and datalad leave files that were not fetched. None for every other path.
    """
    link = next((p for p in (path, *path.parents) if p.is_symlink() and not p.exists()), None)
    if link is None:
        return None
    try:
        link.stat()
    except FileNotFoundError:
        pass
    except OSError:
        return None  # a link that leads back to itself, a folder that may not be read
    target = link.readlink()
    if "annex" in target.parts:
        advice = "get it with `datalad get` or `git annex get`"
    else:
        advice = "restore it, or name another file"
    where = "is a link" if link == path else f"lies below {link.name}, a link"
    return f"{path}: {where} whose target is not there ({target.name}); {advice}."
