"""The queue's jobs: what the worker takes and gives back, what people see and change.

receiving → ready → running → sending → stored → committed → purged, or refused (with a sentence
for the sender of the images), or failed (ours).
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from mri2pet.errors import InputError
from mri2pet.pacs.database import Database
from mri2pet.pacs.spool import Spool, remove

STATES = (
    "receiving", "ready", "running", "sending", "stored", "committed", "purged", "refused",
    "failed",
)  # fmt: skip
DEATHS = 3
"""So many deaths of the worker on one job fail the job."""
DAY = 86400.0


@dataclass(frozen=True)
class Job:
    """A job in the worker's hands: the names of its files below the spool's `incoming`."""

    id: int
    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One instance to send: UIDs, and its file name in the job's folder."""

    sop: str
    sop_class: str
    syntax: str
    file: str


def take(database: Database) -> Job | None:
    """The oldest ready job, now running."""
    with database.change() as change:
        row = change.execute(
            "UPDATE job SET state = 'running', entered = ? WHERE id = "
            "(SELECT id FROM job WHERE state = 'ready' ORDER BY entered, id LIMIT 1) "
            "RETURNING id, name, series",
            (time.time(),),
        ).fetchone()
        if row is None:
            return None
        files = change.execute(
            "SELECT file FROM instance WHERE series = ? ORDER BY sop", (row["series"],)
        ).fetchall()
    return Job(row["id"], row["name"], tuple(file["file"] for file in files))


def finished(database: Database, job: int, results: list[Result], seconds: float) -> None:
    """A running job has its PET: it is to be sent."""
    with database.change() as change:
        change.execute("DELETE FROM sent WHERE job = ?", (job,))
        change.executemany(
            "INSERT INTO sent VALUES (?, ?, ?, ?, ?, 'waiting')",
            [(r.sop, job, r.sop_class, r.syntax, r.file) for r in results],
        )
        change.execute(
            "UPDATE job SET state = 'sending', entered = ?, seconds = ?, next = 0, tries = 0, "
            "since = NULL WHERE id = ? AND state = 'running'",
            (time.time(), seconds, job),
        )
    database.count({"synthesis_seconds": seconds, "syntheses": 1})


def end(database: Database, job: int, state: str, code: str, reason: str) -> None:
    """A job is `refused` or `failed`, with a word and a sentence."""
    with database.change() as change:
        change.execute(
            "UPDATE job SET state = ?, entered = ?, code = ?, reason = ? WHERE id = ?",
            (state, time.time(), code, reason, job),
        )
    database.count({f"{state}:{code}": 1})


def give_back(database: Database, *, died: bool) -> list[sqlite3.Row]:
    """Running jobs whose worker is gone are ready again, or failed when it died on them too
    often. Rows (name, state)."""
    now = time.time()
    with database.change() as change:
        rows = change.execute(
            """
            UPDATE job SET deaths = deaths + ?1, entered = ?2,
            state = CASE WHEN deaths + ?1 >= ?3 THEN 'failed' ELSE 'ready' END,
            code = CASE WHEN deaths + ?1 >= ?3 THEN 'deaths' END,
            reason = CASE WHEN deaths + ?1 >= ?3 THEN
            'The worker died on it ' || ?3 || ' times; see the log.' END
            WHERE state = 'running' RETURNING name, state
            """,
            (int(died), now, DEATHS),
        ).fetchall()
    database.count({"failed:deaths": sum(row["state"] == "failed" for row in rows)})
    return rows


def listed(database: Database) -> list[sqlite3.Row]:
    """All jobs, the newest last: name, state, entered, tries, instances, reason."""
    return database.rows(
        "SELECT name, state, entered, tries, code, reason, seconds, doubtful, "
        "(SELECT count(*) FROM instance WHERE instance.series = job.series) AS instances "
        "FROM job ORDER BY id"
    )


def _named(change: sqlite3.Connection, name: str) -> sqlite3.Row:
    row: sqlite3.Row | None = change.execute("SELECT * FROM job WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise InputError(f"there is no job {name}; `mri2pet dicom jobs` lists them")
    return row


def retry(database: Database, name: str) -> str:
    """A refused or failed job begins again where its results are missing; its new state.

    Raises:
        InputError: no such job, it is not at an end, or its images are gone.
    """
    with database.change() as change:
        job = _named(change, name)
        broken = job["state"] == "receiving" and job["doubtful"] > 0 and job["open"] == 0
        if job["state"] not in ("refused", "failed") and not broken:
            raise InputError(
                f"job {name} is {job['state']}; only refused or failed ones begin again"
            )
        made = change.execute("SELECT count(*) FROM sent WHERE job = ?", (job["id"],)).fetchone()[0]
        left = change.execute(
            "SELECT count(*) FROM instance WHERE series = ?", (job["series"],)
        ).fetchone()[0]
        if not made and not left:
            raise InputError(f"job {name} has no images any more; send the series again")
        state = "sending" if made else "ready"
        change.execute(
            "UPDATE job SET state = ?, entered = ?, code = NULL, reason = NULL, doubtful = 0, "
            "deaths = 0, tries = 0, since = NULL, next = 0 WHERE id = ?",
            (state, time.time(), job["id"]),
        )
    return state


def forget(database: Database, spool: Spool, name: str) -> None:
    """Removes a job with its files.

    Raises:
        InputError: no such job, or the worker has it in hand.
    """
    with database.change() as change:
        job = _named(change, name)
        if job["state"] == "running":
            raise InputError(f"job {name} is running; wait for its end")
        files = _without_files(change, job)
        change.execute("DELETE FROM job WHERE id = ?", (job["id"],))
    _remove(spool, files, [name])


def purge(
    database: Database, spool: Spool, *, quiet_s: float, done_s: float, ended_s: float
) -> int:
    """Removes the files of what was delivered (`done_s` after that, and `quiet_s` after the last
    repeat), and of what was refused or failed (`ended_s` after that); the number of jobs.

    The row of a delivered job stays for `ended_s` more.
    """
    now = time.time()
    with database.change() as change:
        jobs = change.execute(
            "SELECT * FROM job WHERE touched <= ?1 AND (state = 'committed' AND entered <= ?2 "
            "OR state IN ('refused', 'failed') AND entered <= ?3)",
            (now - quiet_s, now - done_s, now - ended_s),
        ).fetchall()
        files = []
        for job in jobs:
            files += _without_files(change, job)
            if job["state"] == "committed":
                change.execute(
                    "UPDATE job SET state = 'purged', entered = ? WHERE id = ?", (now, job["id"])
                )
            else:
                change.execute("DELETE FROM job WHERE id = ?", (job["id"],))
        change.execute(
            "DELETE FROM job WHERE state = 'purged' AND entered <= ?",
            (now - max(ended_s, DAY),),
        )
    _remove(spool, files, [job["name"] for job in jobs])
    return len(jobs)


def _without_files(change: sqlite3.Connection, job: sqlite3.Row) -> list[str]:
    """Takes a job's results out of the queue, and its instances unless another job of the series
    needs them: those files, to be removed after the commit."""
    change.execute("DELETE FROM sent WHERE job = ?", (job["id"],))
    change.execute("DELETE FROM asked WHERE job = ?", (job["id"],))
    others = change.execute(
        "SELECT count(*) FROM job WHERE series = ? AND id != ? AND state != 'purged'",
        (job["series"], job["id"]),
    ).fetchone()[0]
    if others:
        return []
    files = change.execute("SELECT file FROM instance WHERE series = ?", (job["series"],))
    names = [row["file"] for row in files]
    change.execute("DELETE FROM instance WHERE series = ?", (job["series"],))
    return names


def _remove(spool: Spool, files: list[str], names: list[str]) -> None:
    paths: list[Path] = [spool.incoming / file for file in files]
    for path in [*paths, *(spool.results / name for name in names)]:
        remove(path)
