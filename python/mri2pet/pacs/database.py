"""The queue's file: SQLite, whose commit is on the disk when it returns."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,        -- 8 hex digits; a series' second job ends in -2
    series TEXT NOT NULL,             -- UIDs
    study TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT,                        -- why refused or failed: a word, and a sentence
    reason TEXT,
    touched REAL NOT NULL,            -- seconds since 1970, as all times here
    entered REAL NOT NULL,            -- when it came into its state
    open INTEGER NOT NULL DEFAULT 0,  -- associations that may still bring more
    doubtful REAL NOT NULL DEFAULT 0, -- since when; 0: it is not
    deaths INTEGER NOT NULL DEFAULT 0,
    seconds REAL,                     -- what the synthesis took
    tries INTEGER NOT NULL DEFAULT 0,
    since REAL,                       -- the first try to deliver that failed
    next REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS job_series ON job (series);
CREATE INDEX IF NOT EXISTS job_study ON job (study);
CREATE INDEX IF NOT EXISTS job_state ON job (state);
CREATE TABLE IF NOT EXISTS instance (
    sop TEXT PRIMARY KEY,
    series TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    file TEXT NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS instance_series ON instance (series);
CREATE TABLE IF NOT EXISTS sent (
    sop TEXT NOT NULL,
    job INTEGER NOT NULL,
    class TEXT NOT NULL,
    syntax TEXT NOT NULL,
    file TEXT NOT NULL,
    state TEXT NOT NULL,              -- waiting, stored, committed
    PRIMARY KEY (sop, job)
);
CREATE INDEX IF NOT EXISTS sent_job ON sent (job);
CREATE TABLE IF NOT EXISTS asked (transaction_uid TEXT PRIMARY KEY, job INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value REAL NOT NULL);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value REAL NOT NULL, at REAL NOT NULL);
"""


class Database:
    """One connection of one process; its threads take turns."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            file, timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block or nothing, on the disk when it ends."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        found = self.rows(sql, *values)
        return found[0] if found else None

    def count(self, counted: dict[str, float]) -> None:
        """Adds to counters that live as long as the spool."""
        if counted:
            sql = (
                "INSERT INTO counter VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
            )
            with self.change() as connection:
                connection.executemany(sql, counted.items())

    def note(self, name: str, value: float) -> None:
        """Says something to the other processes, with the time."""
        with self.change() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO note VALUES (?, ?, ?)", (name, value, time.time())
            )

    def noted(self, name: str) -> tuple[float, float] | None:
        """(value, when) of a note."""
        row = self.row("SELECT value, at FROM note WHERE name = ?", name)
        return None if row is None else (row["value"], row["at"])
