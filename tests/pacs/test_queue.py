"""The queue by itself: which job when, and what a restart makes of it."""

from __future__ import annotations

import sqlite3
import time

import pytest

from mri2pet.errors import InputError
from mri2pet.pacs import arrivals, deliveries, jobs
from mri2pet.pacs.arrivals import Arrival, Outcome
from mri2pet.pacs.database import Database
from mri2pet.pacs.deliveries import Patience
from mri2pet.pacs.jobs import Result
from mri2pet.pacs.spool import Spool

KEY = bytes(32)


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool")
    made.open()
    return made


@pytest.fixture
def database(spool):
    made = Database(spool.database)
    yield made
    made.close()


def arrive(database, sop, series="1.1", study="1", carried=()):
    arrival = Arrival(sop, series, study, f"sha of {sop}", f"{sop}.dcm", 10)
    return arrivals.add(database, KEY, arrival, carried=carried)


def whole(database, series="1.1", study="1", count=3):
    """A series that came on one association; its job."""
    job = None
    for k in range(count):
        _, job = arrive(database, f"{series}.{k}", series, study, () if job is None else (job,))
    arrivals.ended(database, [job], began=time.time())
    return job


def settle(database, stable_s=0.0, incomplete_s=0.0):
    rows = arrivals.settle(database, stable_s=stable_s, incomplete_s=incomplete_s)
    return [row["state"] for row in rows]


def states(database):
    return [row["state"] for row in jobs.listed(database)]


def delivered(database, job):
    jobs.finished(database, job, [Result("9.1", "c", "t", "a"), Result("9.2", "c", "t", "b")], 1)
    deliveries.stored(database, job, Patience(), commitment=True)
    deliveries.asking(database, job, "7.1")


def test_quiet_series_is_ready_and_an_open_or_touched_one_is_not(database):
    _, job = arrive(database, "a")
    assert settle(database) == []
    arrivals.ended(database, [job], began=time.time())
    assert settle(database, stable_s=60) == []
    assert settle(database) == ["ready"]


def test_doubt_ends_with_a_later_association_alone(database):
    before = time.time() - 10
    _, job = arrive(database, "a")
    arrivals.ended(database, [job], began=before, broken=[job])
    arrive(database, "b")
    arrivals.ended(database, [job], began=before)
    assert settle(database, incomplete_s=60) == [], "that one had begun before the other broke"
    assert arrive(database, "b") == (Outcome.KNOWN, job)
    arrivals.ended(database, [job], began=time.time())
    assert settle(database) == ["ready"]


def test_restart_doubts_what_was_open_and_nothing_else(database):
    whole(database, "1.1")
    arrive(database, "2.1", series="2.2", study="2")
    arrivals.associations_lost(database)
    assert settle(database, incomplete_s=60) == ["ready"]
    assert states(database) == ["ready", "receiving"]
    assert settle(database) == ["refused"]


def test_restart_repeats_all_that_was_not_confirmed(database):
    whole(database)
    settle(database)
    delivered(database, jobs.take(database).id)
    assert states(database) == ["stored"]
    deliveries.restart(database)
    assert states(database) == ["sending"]
    assert len(deliveries.instances(database, deliveries.due(database)["id"], "waiting")) == 2


def test_worker_that_dies_three_times_on_a_job_fails_it(database):
    whole(database)
    settle(database)
    for expected in ("ready", "ready", "failed"):
        jobs.take(database)
        assert [row["state"] for row in jobs.give_back(database, died=True)] == [expected]
    name = jobs.listed(database)[0]["name"]
    assert jobs.retry(database, name) == "ready"
    jobs.take(database)
    assert [row["state"] for row in jobs.give_back(database, died=False)] == ["ready"]


def test_report_counts_by_instance_and_only_for_our_transactions(database):
    whole(database)
    settle(database)
    job = jobs.take(database).id
    delivered(database, job)
    assert deliveries.reported(database, "6.6", ["9.1", "9.2"], []) is None
    assert deliveries.reported(database, "7.1", ["9.1", "1.1.0"], [])["state"] == "stored"
    assert deliveries.reported(database, "7.1", [], ["9.1", "9.2"])["state"] == "sending"
    waiting = deliveries.instances(database, job, "waiting")
    assert [row["sop"] for row in waiting] == ["9.2"], "what was confirmed stays so"
    deliveries.stored(database, job, Patience(), commitment=True)
    assert deliveries.reported(database, "7.1", ["9.2"], [])["state"] == "committed"


def test_archive_that_always_loses_fails_the_job(database, monkeypatch):
    monkeypatch.setattr(deliveries, "ASKED_AT_MOST", 1)
    whole(database)
    settle(database)
    delivered(database, jobs.take(database).id)
    assert deliveries.reported(database, "7.1", [], ["9.1"])["state"] == "failed"


def test_delivery_waits_longer_and_longer_and_gives_up(database):
    whole(database)
    settle(database)
    job = jobs.take(database).id
    jobs.finished(database, job, [Result("9.1", "c", "t", "a")], 1)
    patience = Patience()
    waits = [patience.wait_s(n) for n in range(12)]
    assert all(0.8 * 5 * 2**n <= wait <= 1.2 * 5 * 2**n for n, wait in enumerate(waits[:7]))
    assert max(waits) <= 1.2 * 900
    assert deliveries.postpone(database, patience) == []
    assert deliveries.due(database) is None
    with database.change() as change:
        change.execute("UPDATE job SET next = 0, since = ?", (time.time() - 3 * 86400 - 1,))
    assert len(deliveries.postpone(database, patience)) == 1
    assert states(database) == ["failed"]


def test_purge_keeps_the_files_that_another_job_of_the_series_needs(database, spool):
    whole(database)
    for k in range(4):
        (spool.incoming / f"1.1.{k}.dcm").write_text("")
    settle(database)
    delivered(database, jobs.take(database).id)
    arrive(database, "1.1.3")
    assert deliveries.reported(database, "7.1", ["9.1", "9.2"], [])["state"] == "committed"
    assert jobs.purge(database, spool, quiet_s=60, done_s=0, ended_s=9) == 0, "a repeat may come"
    assert jobs.purge(database, spool, quiet_s=0, done_s=60, ended_s=9) == 0
    assert jobs.purge(database, spool, quiet_s=0, done_s=0, ended_s=9) == 1
    assert len(list(spool.incoming.iterdir())) == 4
    second = jobs.listed(database)[1]["name"]
    jobs.forget(database, spool, second)
    assert not list(spool.incoming.iterdir())
    assert states(database) == ["purged"]


def test_retry_and_forget_refuse_what_makes_no_sense(database, spool):
    whole(database)
    name = jobs.listed(database)[0]["name"]
    with pytest.raises(InputError, match="is receiving; only refused or failed"):
        jobs.retry(database, name)
    with pytest.raises(InputError, match="no job ffffffff"):
        jobs.forget(database, spool, "ffffffff")
    settle(database)
    job = jobs.take(database)
    with pytest.raises(InputError, match="is running"):
        jobs.forget(database, spool, name)
    jobs.end(database, job.id, "failed", "error", "It failed.")
    with database.change() as change:
        change.execute("DELETE FROM instance")
    with pytest.raises(InputError, match="send the series again"):
        jobs.retry(database, name)


def test_change_that_fails_changes_nothing(database):
    rows = [("x", 1), ("x", 2)]
    with pytest.raises(sqlite3.IntegrityError), database.change() as change:
        change.executemany("INSERT INTO counter VALUES (?, ?)", rows)
    assert database.rows("SELECT * FROM counter") == []
    database.count({"x": 2})
    database.count({"x": 3})
    assert database.row("SELECT value FROM counter")["value"] == 5
