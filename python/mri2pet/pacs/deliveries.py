"""The queue's second half: what is to be sent, has been stored, and was confirmed.

A job is `sending` until the archive took every instance, `stored` until it reported that it
keeps them (storage commitment), then `committed`.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass

from mri2pet.pacs.database import Database

DAY = 86400.0
RESEND_S = 60.0
"""Until what the archive says it has lost is sent again."""
ASKED_AT_MOST = 10
"""So many reports that instances are missing fail a job."""


@dataclass(frozen=True)
class Patience:
    """Seconds: a failed delivery is tried again after `first_s` × 2ⁿ ± 20 %, at most `longest_s`,
    for `give_up_s`; a missing report is asked for again after `ask_s`, then `ask_again_s` each
    time, for `ask_give_up_s`."""

    first_s: float = 5
    longest_s: float = 900
    give_up_s: float = 3 * DAY
    ask_s: float = 600
    ask_again_s: float = DAY
    ask_give_up_s: float = 7 * DAY

    def wait_s(self, tries: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** min(tries, 20)) * random.uniform(0.8, 1.2)


def restart(database: Database) -> None:
    """Whatever was not confirmed is sent again: the UIDs make that harmless."""
    with database.change() as change:
        change.execute(
            "UPDATE sent SET state = 'waiting' WHERE state = 'stored' "
            "AND job IN (SELECT id FROM job WHERE state IN ('sending', 'stored'))"
        )
        change.execute(
            "UPDATE job SET state = 'sending', next = 0 WHERE state = 'stored' OR state = 'sending'"
        )


def due(database: Database) -> sqlite3.Row | None:
    """The next job to send, or to ask for: row (id, name, state, tries)."""
    return database.row(
        "SELECT id, name, state, tries FROM job WHERE state IN ('sending', 'stored') "
        "AND next <= ? ORDER BY state, next, id LIMIT 1",
        time.time(),
    )


def instances(database: Database, job: int, state: str) -> list[sqlite3.Row]:
    """Rows (sop, class, syntax, file) of a job's results in one state."""
    return database.rows(
        "SELECT sop, class, syntax, file FROM sent WHERE job = ? AND state = ? ORDER BY file",
        job,
        state,
    )


def stored(database: Database, job: int, patience: Patience, *, commitment: bool) -> None:
    """The archive took all that was waiting. Without commitment that is all there is to do."""
    now = time.time()
    state = "stored" if commitment else "committed"
    with database.change() as change:
        change.execute(
            "UPDATE sent SET state = 'stored' WHERE job = ? AND state = 'waiting'", (job,)
        )
        change.execute(
            "UPDATE job SET state = ?, entered = ?, tries = 0, since = NULL, next = ? WHERE id = ?",
            (state, now, now + patience.ask_s, job),
        )


def asking(database: Database, job: int, uid: str) -> None:
    """Keeps the transaction before it goes out, for its report may come at once."""
    with database.change() as change:
        change.execute("INSERT INTO asked VALUES (?, ?)", (uid, job))


def asked(database: Database, job: int, patience: Patience) -> bool:
    """The archive will report; False: it has been asked for too long, the job failed."""
    now = time.time()
    with database.change() as change:
        row = change.execute(
            "SELECT state, entered, tries FROM job WHERE id = ?", (job,)
        ).fetchone()
        if row["state"] != "stored":
            return True  # the report was faster
        wait = patience.ask_s if row["tries"] == 0 else patience.ask_again_s
        change.execute("UPDATE job SET tries = tries + 1, next = ? WHERE id = ?", (now + wait, job))
        return bool(now - row["entered"] < patience.ask_give_up_s)


def reported(
    database: Database, uid: str, kept: Collection[str], lost: Collection[str]
) -> sqlite3.Row | None:
    """A report of the archive on a transaction: row (id, name, state) of its job after it, None
    when it is none of ours. Instances it says it has not are sent again."""
    now = time.time()
    with database.change() as change:
        asked = change.execute("SELECT job FROM asked WHERE transaction_uid = ?", (uid,)).fetchone()
        if asked is None:
            return None
        job = asked["job"]
        for state, uids in (("committed", kept), ("waiting", lost)):
            change.executemany(
                "UPDATE sent SET state = ? WHERE job = ? AND sop = ? AND state != 'committed'",
                [(state, job, sop) for sop in uids],
            )
        counts = dict(
            change.execute(
                "SELECT state, count(*) FROM sent WHERE job = ? GROUP BY state", (job,)
            ).fetchall()
        )
        if set(counts) == {"committed"}:
            change.execute(
                "UPDATE job SET state = 'committed', entered = ? WHERE id = ? AND state IN "
                "('sending', 'stored', 'failed')",
                (now, job),
            )
            change.execute("DELETE FROM asked WHERE job = ?", (job,))
        elif counts.get("waiting") and _times_asked(change, job) >= ASKED_AT_MOST:
            change.execute(
                "UPDATE job SET state = 'failed', entered = ?, code = 'unkept', reason = "
                "'The destination takes the images but reports again and again that it has not.' "
                "WHERE id = ? AND state = 'stored'",
                (now, job),
            )
        elif counts.get("waiting"):
            change.execute(
                "UPDATE job SET state = 'sending', entered = ?1, since = coalesce(since, ?1), "
                "next = ?2 WHERE id = ?3 AND state = 'stored'",
                (now, now + RESEND_S, job),
            )
        row: sqlite3.Row = change.execute(
            "SELECT id, name, state FROM job WHERE id = ?", (job,)
        ).fetchone()
    return row


def _times_asked(change: sqlite3.Connection, job: int) -> int:
    row = change.execute("SELECT count(*) FROM asked WHERE job = ?", (job,)).fetchone()
    return int(row[0])


def postpone(database: Database, patience: Patience) -> list[sqlite3.Row]:
    """The archive did not answer: everything due waits, or fails after too long. Rows (name) of
    what failed."""
    now = time.time()
    with database.change() as change:
        rows = change.execute(
            "SELECT id, tries, state, since FROM job WHERE state IN ('sending', 'stored') "
            "AND next <= ?",
            (now,),
        ).fetchall()
        for row in rows:
            change.execute(
                "UPDATE job SET tries = tries + 1, since = coalesce(since, ?), next = ? "
                "WHERE id = ?",
                (now, now + patience.wait_s(row["tries"]), row["id"]),
            )
        failed = change.execute(
            "UPDATE job SET state = 'failed', entered = ?1, code = 'undelivered', reason = "
            "'The destination could not be reached for too long.' "
            "WHERE state = 'sending' AND since <= ?2 RETURNING name",
            (now, now - patience.give_up_s),
        ).fetchall()
    database.count({"failed:undelivered": len(failed)} if failed else {})
    return failed
