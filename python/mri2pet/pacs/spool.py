"""The folder that a node lives in: everything it must not lose, and nobody else may read."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mri2pet.errors import UsageError

RESERVE = 32 << 20
"""Bytes of the disk that incoming images never take."""


class Spool:
    """Paths below one folder, on a local disk.

    `incoming` holds the instances received, `results` those to send (a folder for each job),
    `work` what the worker has in hand, `temporary` what has no owner after a restart.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "in"
        self.results = folder / "out"
        self.work = folder / "work"
        self.temporary = folder / "tmp"
        self.database = folder / "queue.db"
        self.identifiers = folder / "identifiers.log"

    def open(self) -> None:
        """Makes what is missing.

        Raises:
            UsageError: the folder is somebody else's, or others can read it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = self.folder.stat()
            for part in (self.incoming, self.results, self.work, self.temporary):
                part.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"spool {self.folder}: cannot be used ({error.strerror})") from None
        if found.st_uid != os.geteuid():
            raise UsageError(f"spool {self.folder}: belongs to another user; name another folder")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise UsageError(
                f"spool {self.folder}: others can read it, and scans will lie there; "
                "run chmod 700 on it"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder: one node at a time.

        Raises:
            UsageError: another node has it.
        """
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"spool {self.folder}: another node uses it") from None
            yield

    def key(self) -> bytes:
        """The secret of this installation, 32 bytes, made at the first call."""
        file = self.folder / "key"
        with contextlib.suppress(FileExistsError):
            made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "wb") as out:
                out.write(secrets.token_bytes(32))
                out.flush()
                os.fsync(out.fileno())
        key = file.read_bytes()
        if len(key) != 32:
            raise UsageError(f"{file}: is damaged; remove it, and jobs get new names")
        return key

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def can_write(self) -> bool:
        """Whether the disk leaves room for the queue itself."""
        return self.free_bytes() >= RESERVE

    def sweep(self, files: Collection[str], jobs: Collection[str]) -> int:
        """Removes what a killed node left: temporary files, instances that no row knows, folders
        of jobs that are gone. The number of things removed."""
        count = 0
        for path in [*self.temporary.iterdir(), *self.work.iterdir()]:
            count += remove(path)
        for folder, known in ((self.incoming, files), (self.results, jobs)):
            for path in folder.iterdir():
                if path.name not in known:
                    count += remove(path)
        return count


def remove(path: Path) -> int:
    """Removes a file or folder that may be gone already; 1."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return 1


def name_of(uid: str, content: str) -> str:
    """A file name that says nothing: of a SOP Instance UID and its content's SHA-256."""
    return f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}-{content[:16]}.dcm"


def sync(path: Path) -> None:
    """Brings a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
