"""Fifty studies at once, and the same while processes are killed: none lost, none doubled."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

STUDIES, KILLS = 50, 20


@pytest.fixture
def run(peers, node_json, tmp_path):
    """A node and its archive; many associations at once, and patience with what broke off."""
    tree = {**node_json(tmp_path), "per_peer": 10, "stable_s": 0.3, "incomplete_s": 120}
    archive = peers.Archive(tree["destination"]["port"], tree["port"]).start()
    with peers.NodeProcess(tmp_path, tree) as node:
        node.wait_ready()
        yield node, archive
    archive.stop()


def send_until_taken(peers, port, series):
    """As a sender that repeats a study until all of it was taken on one association."""
    end = time.monotonic() + 250
    while time.monotonic() < end:
        sender = peers.Sender(port)
        if sender.accepted:
            statuses = sender.store(series)
            if sender.release() and statuses == [0] * len(series):
                return True
        time.sleep(0.1)
    return False


def counts(node):
    try:
        with sqlite3.connect(node.spool / "queue.db", timeout=30) as database:
            return dict(database.execute("SELECT state, count(*) FROM job GROUP BY state"))
    except sqlite3.OperationalError:
        return {}


def deliver_all(peers, node, archive):
    """Seconds until all studies are committed."""
    studies = [peers.made_series() for _ in range(STUDIES)]
    began = time.monotonic()
    port = node.tree["port"]
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda s: send_until_taken(peers, port, s), studies))
    assert all(taken)

    def done():
        found = counts(node)
        return found and set(found) <= {"committed", "purged"}

    peers.wait_for(done, "all committed", 250)
    return time.monotonic() - began


def check(peers, archive):
    """(lost, doubled, uncommitted)"""
    found = peers.series_counts(archive)
    lost = STUDIES * peers.SLICES - sum(found.values())
    doubled = max(0, len(found) - STUDIES)
    uncommitted = len(set(archive.stored) - archive.committed)
    assert sorted(found.values()) == [peers.SLICES] * STUDIES
    assert uncommitted == 0
    return lost, doubled, uncommitted


@pytest.mark.slow
def test_fifty_studies_are_all_committed(run, peers, capsys):
    node, archive = run
    receiver = node.pids()["receiver"]
    series = peers.made_series(64)
    began = time.monotonic()
    assert peers.send(node.tree["port"], series) == [0] * 64
    rate = 64 / (time.monotonic() - began)
    peers.wait_for(lambda: len(archive.committed) == 64, "the first study", 100)
    archive.stored.clear()
    archive.committed.clear()
    seconds = deliver_all(peers, node, archive)
    lost, doubled, uncommitted = check(peers, archive)
    memory = peers.resident_mb(receiver)
    assert node.pids()["receiver"] == receiver
    assert memory <= 200
    with capsys.disabled():
        print(
            f"\n{rate:.0f} instances/s; {STUDIES} studies x {peers.SLICES}: {seconds:.1f} s, "
            f"{lost} lost, {doubled} doubled, {uncommitted} uncommitted; receiver {memory:.0f} MB"
        )


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(run, peers, capsys):
    node, archive = run
    rng, killed, stop = random.Random(5), [], threading.Event()

    def progress():
        found = counts(node)
        done = found.get("committed", 0) + found.get("purged", 0)
        return (sum(found.values()) + done) / (2 * STUDIES)

    def kill():
        for k in range(KILLS):
            name = ("receiver", "worker")[k % 2]
            while progress() < k / (KILLS + 2) and not stop.is_set():
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            while name not in node.pids() and not stop.is_set():
                time.sleep(0.02)
            os.kill(node.pids()[name], signal.SIGKILL)
            killed.append(name)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        seconds = deliver_all(peers, node, archive)
    finally:
        stop.set()
        killer.join(30)
    lost, doubled, uncommitted = check(peers, archive)
    jobs = sum(counts(node).values())
    assert len(killed) == KILLS
    with capsys.disabled():
        print(
            f"\n{STUDIES} studies x {peers.SLICES}, {KILLS} kills: {seconds:.1f} s, {lost} lost, "
            f"{doubled} doubled, {uncommitted} uncommitted, {jobs} jobs"
        )
