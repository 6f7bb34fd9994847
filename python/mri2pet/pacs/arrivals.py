"""The queue's first half: instances that arrived, and when a series is complete.

A job is `receiving` until its series was quiet for a while, no association that carries it is
open and nothing else of its study arrives; then it is `ready`. When an association breaks off, or
an instance could not be taken, the series it carried are doubtful: they wait until a later
association brought more of them and ended well, or are refused. So does a quiet series of which
another system has more than came. An association that has gone on to another study no longer
carries a series that has been quiet.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from mri2pet.pacs.database import Database
from mri2pet.pacs.privacy import job_name

BROKE_OFF = "broke_off"
OLDEST = 1.0
"""A doubt that is older than any association."""


@dataclass(frozen=True)
class Arrival:
    """One instance on the disk: its UIDs, the SHA-256 of its data set, file name and bytes."""

    sop: str
    series: str
    study: str
    sha256: str
    file: str
    size: int


class Outcome(Enum):
    """What became of an arrival: `KNOWN` was there with the same content, `CONFLICT` with
    another one."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"


def is_known(database: Database, sop: str, sha256: str) -> bool | None:
    """Whether an instance is there with this content; None: it is not there."""
    row = database.row("SELECT sha256 FROM instance WHERE sop = ?", sop)
    return None if row is None else row["sha256"] == sha256


def add(
    database: Database, key: bytes, arrival: Arrival, *, carried: Iterable[int]
) -> tuple[Outcome, int | None]:
    """Takes an instance into the queue. `carried` are the jobs that its association has open.

    (what became of it, the job it belongs to while that is receiving)
    """
    now = time.time()
    with database.change() as change:
        known = change.execute(
            "SELECT sha256, series FROM instance WHERE sop = ?", (arrival.sop,)
        ).fetchone()
        if known is not None and (known["sha256"], known["series"]) != (
            arrival.sha256,
            arrival.series,
        ):
            return Outcome.CONFLICT, None
        if known is None:
            change.execute(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?)",
                (arrival.sop, arrival.series, arrival.sha256, arrival.file, arrival.size),
            )
        job = _job(change, key, arrival, now, new=known is None)
        if job is not None and job not in carried:
            change.execute("UPDATE job SET open = open + 1 WHERE id = ?", (job,))
    return (Outcome.NEW if known is None else Outcome.KNOWN), job


def _job(
    change: sqlite3.Connection, key: bytes, arrival: Arrival, now: float, *, new: bool
) -> int | None:
    """The series' receiving job, touched; a new one when the last one has begun without this."""
    last = change.execute(
        "SELECT id, state, code FROM job WHERE series = ? ORDER BY id DESC LIMIT 1",
        (arrival.series,),
    ).fetchone()
    if last is not None:
        waits = last["state"] == "receiving" or (new and last["state"] == "ready")
        again = last["state"] == "refused" and last["code"] == BROKE_OFF
        if again:
            change.execute("UPDATE job SET code = NULL, reason = NULL WHERE id = ?", (last["id"],))
        if waits or again:
            change.execute(
                "UPDATE job SET state = 'receiving', touched = ?1, entered = ?1 WHERE id = ?2",
                (now, last["id"]),
            )
            return int(last["id"])
        if not new:  # keeps the files while a repeat is under way
            change.execute("UPDATE job SET touched = ? WHERE id = ?", (now, last["id"]))
            return None
    name = job_name(key, arrival.series)
    latest = change.execute(
        "SELECT name FROM job WHERE name = ?1 OR name LIKE ?1 || '-%' ORDER BY id DESC LIMIT 1",
        (name,),
    ).fetchone()
    if latest is not None:
        name = f"{name}-{int(latest['name'].partition('-')[2] or 1) + 1}"
    made = change.execute(
        "INSERT INTO job (name, series, study, state, touched, entered) "
        "VALUES (?, ?, ?, 'receiving', ?, ?)",
        (name, arrival.series, arrival.study, now, now),
    )
    return int(made.lastrowid or 0)


def ended(
    database: Database, jobs: Iterable[int], *, began: float, broken: Iterable[int] = ()
) -> None:
    """An association that carried `jobs` ended; those in `broken` are doubtful from now on.

    Of the others a doubt is gone when it was older than the association.
    """
    now, jobs, broken = time.time(), list(jobs), set(broken)
    if not jobs:
        return
    with database.change() as change:
        for job in jobs:
            change.execute(
                "UPDATE job SET open = max(0, open - 1), touched = ?, doubtful = "
                "CASE WHEN ? THEN ? WHEN doubtful < ? THEN 0 ELSE doubtful END, "
                "reason = CASE WHEN state = 'receiving' THEN NULL ELSE reason END WHERE id = ?",
                (now, job in broken, now, began, job),
            )


def associations_lost(database: Database) -> None:
    """After a restart: whatever an association carried is doubtful."""
    with database.change() as change:
        change.execute(
            "UPDATE job SET doubtful = ?1, touched = ?1, open = 0, reason = NULL "
            "WHERE open > 0 AND state = 'receiving'",
            (time.time(),),
        )
        change.execute("UPDATE job SET open = 0")


QUIET = """
    state = 'receiving' AND doubtful = 0 AND open = 0 AND touched <= ?1 AND NOT EXISTS (
        SELECT 1 FROM job AS other WHERE other.study = job.study
        AND other.state = 'receiving' AND (other.open > 0 OR other.touched > ?1)
    )
"""


def quiet(database: Database, *, stable_s: float) -> list[sqlite3.Row]:
    """What `settle` would make ready: rows (id, name, series, study, touched, instances)."""
    return database.rows(
        "SELECT id, name, series, study, touched, "
        "(SELECT count(*) FROM instance WHERE instance.series = job.series) AS instances "
        f"FROM job WHERE {QUIET} ORDER BY id",
        time.time() - stable_s,
    )


def fall_short(database: Database, job: int, touched: float, count: int) -> None:
    """Another system has `count` slices of a job's series, more than came: it is doubtful, unless
    it was touched in between.

    Nothing broke off, so the rest may come on an association that is open already.
    """
    with database.change() as change:
        change.execute(
            "UPDATE job SET doubtful = ?5, touched = ?1, reason = 'Only ' "
            "|| (SELECT count(*) FROM instance WHERE instance.series = job.series) "
            "|| ' of ' || ?2 || ' slices came.' "
            "WHERE id = ?3 AND touched = ?4 AND state = 'receiving'",
            (time.time(), count, job, touched, OLDEST),
        )


def settle(
    database: Database,
    *,
    stable_s: float,
    incomplete_s: float,
    whole: Collection[int] | None = None,
) -> list[sqlite3.Row]:
    """Makes complete series ready and refuses those whose repeat did not come: rows (id, name,
    state) of both. Only jobs in `whole` become ready; None: all may."""
    now = time.time()
    with database.change() as change:
        found = change.execute(f"SELECT id FROM job WHERE {QUIET}", (now - stable_s,)).fetchall()
        may = [row["id"] for row in found if whole is None or row["id"] in whole]
        ready = [
            change.execute(
                "UPDATE job SET state = 'ready', entered = ?, reason = NULL WHERE id = ? "
                "RETURNING id, name, state",
                (now, job),
            ).fetchone()
            for job in may
        ]
        refused = change.execute(
            """
            UPDATE job SET state = 'refused', entered = ?1, code = ?3,
            reason = coalesce(reason, 'The transfer broke off after '
            || (SELECT count(*) FROM instance WHERE instance.series = job.series)
            || ' slices, and was not repeated.')
            WHERE state = 'receiving' AND doubtful > 0 AND open = 0 AND touched <= ?2
            RETURNING id, name, state
            """,
            (now, now - incomplete_s, BROKE_OFF),
        ).fetchall()
    return [*ready, *refused]


def bytes_held(database: Database) -> int:
    """Bytes of all instances in the spool."""
    row = database.row("SELECT coalesce(sum(size), 0) AS total FROM instance")
    return int(row["total"]) if row is not None else 0
