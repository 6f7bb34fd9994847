"""The whole node in its processes: from a series to a committed PET, deaths, privacy."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

import pytest

MARKERS = {
    "PatientName": "Xqmarker^Zwname", "PatientID": "XQID4711", "PatientBirthDate": "19370203",
    "AccessionNumber": "XQACC99", "StudyDescription": "Xqstudy text", "StudyID": "XQSTUDY",
    "SeriesDescription": "Xqseries text", "InstitutionName": "Xqhospital",
    "ReferringPhysicianName": "Xqdoctor^A", "PatientComments": "Xqcomment",
}  # fmt: skip
WORDS = ("Xq", "XQ", "Zwname", "19370203")


@pytest.fixture(scope="module")
def shared(peers, node_json, tmp_path_factory):
    """One node and its archive for all tests but those that end it."""
    folder = tmp_path_factory.mktemp("node")
    tree = node_json(folder)
    archive = peers.Archive(tree["destination"]["port"], tree["port"]).start()
    with peers.NodeProcess(folder, tree) as node:
        node.wait_ready()
        yield node, archive
    archive.stop()


@pytest.fixture
def node(shared):
    return shared[0]


@pytest.fixture
def archive(shared):
    return shared[1]


@pytest.fixture
def tree(node):
    return node.tree


@pytest.fixture
def new(node):
    """States of the jobs since the test began."""
    before = len(states(node))
    return lambda: states(node)[before:]


def states(node):
    with sqlite3.connect(node.spool / "queue.db") as database:
        return [row[0] for row in database.execute("SELECT state FROM job ORDER BY id")]


def column_texts(node):
    """Every text of the queue but UIDs."""
    with sqlite3.connect(node.spool / "queue.db") as database:
        tables = [
            r[0] for r in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return [
            str(value)
            for table in tables
            for row in database.execute(f"SELECT * FROM {table}")
            for value in row
        ]


def test_metrics_and_health(node, peers, tree, archive):
    assert node.get("/healthz") == (200, '{"receiver": true, "worker": true}\n')
    assert node.get("/secret")[0] == 404
    peers.send(tree["port"], peers.made_series(2))
    peers.wait_for(lambda: "mri2pet_synthesis_seconds_count 1" in node.get("/metrics")[1], "a job")
    text = node.get("/metrics")[1]
    assert "mri2pet_instances_received_total 2" in text
    assert 'mri2pet_jobs{state="failed"} 0' in text
    assert "mri2pet_oldest_ready_job_seconds" in text
    archive.stop()
    peers.wait_for(lambda: node.get("/readyz")[0] == 503, "a node that misses its destination")
    assert '"destination": false' in node.get("/readyz")[1]
    archive.start()
    node.wait_ready()


def test_series_becomes_a_pet_and_no_way_out_tells_of_the_person(
    node, new, peers, tree, archive, capfd
):
    from mri2pet.cli.main import main

    for wish in ("", "refuse", "fail"):
        series = peers.made_series(4, ImageComments=wish, **MARKERS)
        assert peers.send(tree["port"], series) == [0] * 4
    series = peers.made_series(2, **MARKERS)
    sender = peers.Sender(tree["port"])
    sender.store(series)
    series[0].PixelData = bytes(512)
    sender.store(series[:1])
    sender.association.abort()
    ends = (
        ["committed", "refused", "failed", "refused"],
        ["purged", "refused", "failed", "refused"],
    )
    peers.wait_for(lambda: new() in ends, "the ends of four jobs")
    assert 4 in peers.series_counts(archive).values()
    peers.wait_for(
        lambda: 'refused_total{reason="broke_off"} 1' in node.get("/metrics")[1], "counts"
    )
    capfd.readouterr()
    assert main(["dicom", "jobs", str(node.file)]) == 0
    listed = capfd.readouterr().out
    assert "The synthesis failed (ValueError at peers.py:" in listed
    assert "the series: series … of … is no T1" in listed
    names = [str(path) for path in node.spool.rglob("*")]
    told = [node.log.read_text(), node.get("/metrics")[1], node.get("/readyz")[1], listed]
    told += [*column_texts(node), *names]
    assert not [(word, text) for text in told for word in WORDS if word in text]
    assert all(path.stat().st_mode & 0o077 == 0 for path in node.spool.rglob("*"))


@pytest.mark.slow
def test_job_that_kills_the_worker_fails_alone(node, new, peers, tree):
    peers.send(tree["port"], peers.made_series(2, ImageComments="die"))
    peers.wait_for(lambda: new() == ["failed"], "a failed job", 60)
    peers.send(tree["port"], peers.made_series(2))
    peers.wait_for(lambda: new()[1] in ("committed", "purged"), "the next one", 60)
    assert [e for e in node.events() if e["event"] == "failed"]


@pytest.mark.slow
def test_killed_receiver_comes_back_and_its_half_series_is_doubtful(node, new, peers, tree):
    sender = peers.Sender(tree["port"])
    assert sender.store(peers.made_series(3)) == [0, 0, 0]
    (node.spool / "tmp" / "left").write_text("")
    before = node.pids()["receiver"]
    os.kill(before, signal.SIGKILL)
    peers.wait_for(lambda: node.pids().get("receiver", before) != before, "another receiver")
    peers.wait_for(lambda: not list((node.spool / "tmp").iterdir()), "no temporary file")
    sender.association.abort()
    peers.wait_for(lambda: new() == ["refused"], "a refused job")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_node_that_cannot_work_says_why_and_ends(peers, node_json, tmp_path):
    import socket

    tree = node_json(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", tree["port"]))
        taken.listen()
        with peers.NodeProcess(tmp_path, tree) as node:
            assert node.process.wait(60) == 1
    log = node.log.read_text()
    assert f"cannot listen on 127.0.0.1, port {tree['port']} (Address already in use)" in log
    assert "the receiver cannot work" in log


@pytest.mark.slow
def test_children_end_with_a_killed_parent(peers, node_json, tmp_path):
    with peers.NodeProcess(tmp_path, node_json(tmp_path)) as node:
        children = peers.wait_for(lambda: len(node.pids()) == 2 and node.pids(), "children")
        node.process.kill()

    def gone():
        return not any(is_running(pid) for pid in children.values())

    peers.wait_for(gone, "no child")


def test_sigterm_ends_everything_within_10_s(node, peers, tree):
    sender = peers.Sender(tree["port"])
    sender.store(peers.made_series(2))
    children = node.pids()
    began = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(20) == 0
    assert time.monotonic() - began <= 10, "what a service manager waits for"
    assert sorted(children) == ["receiver", "worker"]
    for pid in children.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert node.events()[-1] == {**node.events()[-1], "event": "stopped", "process": "node"}
