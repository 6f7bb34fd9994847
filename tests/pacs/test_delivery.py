"""What goes out: retries, storage commitment, and an archive that does not do as it should."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from pynetdicom import build_context


@pytest.fixture
def archive(peers, tree):
    made = peers.Archive(tree["destination"]["port"], tree["port"])
    yield made
    made.stop()


def made_ready(node, peers, count=1):
    """So many series, whose PETs are ready to be sent."""
    for _ in range(count):
        assert peers.send(node.port, peers.made_series(4)) == [0] * 4
    peers.wait_for(lambda: node.states() == ["ready"] * count, "complete series")
    assert node.work() == count


def wait_states(node, peers, *states):
    peers.wait_for(lambda: set(node.states()) <= set(states), f"{states}")


def test_destination_that_comes_later_gets_everything(within, peers, archive):
    node = within()
    made_ready(node, peers, 2)
    peers.wait_for(lambda: node.counters().get("undelivered:unreachable", 0) >= 2, "two tries")
    assert set(node.states()) == {"sending"}
    assert {row["tries"] > 0 for row in node.database.rows("SELECT tries FROM job")} == {True}
    archive.start()
    wait_states(node, peers, "committed", "purged")
    assert sorted(peers.series_counts(archive).values()) == [4, 4]


def test_destination_that_never_answers_holds_nothing_up(within, peers, tree, quick):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", tree["destination"]["port"]))
        mute.listen()
        node = within(pace=replace(quick, archive_timeout_s=0.5))
        made_ready(node, peers)
        peers.wait_for(lambda: node.counters().get("undelivered:unreachable"), "a failed try")
        assert peers.send(node.port, peers.made_series(1)) == [0]
        assert node.states()[0] == "sending"


@pytest.mark.parametrize("status", [0xA900, 0xC123, 0x0122])
def test_refusal_for_good_is_not_retried(within, peers, archive, status):
    archive.start().status = status
    node = within()
    made_ready(node, peers)
    wait_states(node, peers, "failed")
    (row,) = node.database.rows("SELECT name, code, reason FROM job")
    assert row["code"] == f"status_{status:04X}"
    archive.status = 0
    from mri2pet.pacs.jobs import retry

    assert retry(node.database, row["name"]) == "sending"
    wait_states(node, peers, "committed", "purged")


def test_full_archive_is_tried_again(within, peers, archive):
    archive.start().status = 0xA700
    node = within()
    made_ready(node, peers)
    peers.wait_for(lambda: node.counters().get("undelivered:status_A700"), "a failed try")
    archive.status = 0
    wait_states(node, peers, "committed", "purged")


def test_rejected_for_good_is_not_retried(within, peers, archive, tree):
    from pynetdicom import AE

    ae = AE("ARCHIVE")
    ae.require_calling_aet = ["SOMEBODY"]
    ae.add_supported_context(peers.PET)
    server = ae.start_server(("127.0.0.1", tree["destination"]["port"]), block=False)
    try:
        node = within()
        made_ready(node, peers)
        wait_states(node, peers, "failed")
        (row,) = node.database.rows("SELECT reason FROM job")
        assert row["reason"] == "The destination does not know our AE title."
    finally:
        server.shutdown()


def test_instances_that_the_archive_lost_are_sent_again(within, peers, archive, monkeypatch):
    from mri2pet.pacs import deliveries

    archive.start().losing = 1
    node = within()
    monkeypatch.setattr(deliveries, "RESEND_S", 0.1)
    made_ready(node, peers)
    wait_states(node, peers, "committed", "purged")
    peers.wait_for(lambda: archive.reports == 2, "two reports")


def test_report_that_does_not_come_is_asked_for_again(within, peers, archive, quick):
    archive.start().report = "never"
    node = within(pace=replace(quick, patience=replace(quick.patience, ask_s=0.3)))
    made_ready(node, peers)
    peers.wait_for(lambda: len(node.database.rows("SELECT * FROM asked")) == 1, "a question")
    archive.report = "new"
    wait_states(node, peers, "committed", "purged")


def test_report_that_never_comes_fails_the_job(within, peers, archive, quick):
    archive.start().report = "never"
    patience = replace(quick.patience, ask_s=0.1, ask_again_s=0.1, ask_give_up_s=0.5)
    node = within(pace=replace(quick, patience=patience))
    made_ready(node, peers)
    wait_states(node, peers, "failed")
    assert list(node.spool.incoming.iterdir()), "kept for a person to look at"


def test_without_commitment_stored_is_enough(within, peers, archive, tree):
    archive.start().report = "never"
    node = within(destination={**tree["destination"], "commitment": False})
    made_ready(node, peers)
    wait_states(node, peers, "purged")
    assert sorted(peers.series_counts(archive).values()) == [4]


@pytest.fixture
def send(peers, archive, tmp_path):
    """`mri2pet dicom send` of three PET instances to HOST, with options; its exit code."""
    from mri2pet.cli.main import main

    out = peers.made_pets(tmp_path, 3)

    def send(*options, host="127.0.0.1"):
        return main(["dicom", "send", str(out), "--to", f"ARCHIVE@{host}:{archive.port}", *options])

    return send


def test_send_sends_a_folder_and_hears_of_commitment(send, archive, capsys):
    archive.start().report = "same"
    assert send() == 0
    assert capsys.readouterr().out == "3 instances stored, 3 confirmed\n"
    assert len(archive.stored) == 3
    archive.stop()
    archive._server = None
    assert send() == 1
    to = f"ARCHIVE@127.0.0.1:{archive.port}"
    assert capsys.readouterr().err == f"mri2pet: error: {to}: The destination does not answer.\n"
    assert send("--to", "ARCHIVE") == 2


def test_a_host_that_no_name_server_knows_is_named(send, capsys, monkeypatch):
    from mri2pet.pacs.archive import Archive
    from mri2pet.pacs.settings import Remote

    def unknown(host, *_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert send(host="archive.invalid") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": The host archive.invalid is not found.")
    assert not Archive("MRI2PET", Remote(aet="ARCHIVE", host="archive.invalid", port=104)).echo()


def test_send_sends_by_tls(send, archive, capsys, certificates, tmp_path):
    from mri2pet.pacs.gate import server_context
    from mri2pet.pacs.settings import TLS

    def files(name, ca=certificates / "ca.pem"):
        return {"cert": certificates / f"{name}.pem", "key": certificates / f"{name}.key", "ca": ca}

    def options(files):
        return [part for name, file in files.items() for part in (f"--{name}", str(file))]

    archive.start(server_context(TLS(**files("node")))).report = "same"
    assert send(*options(files("client"))) == 0
    assert capsys.readouterr().out == "3 instances stored, 3 confirmed\n"
    archive.stored.clear()
    other = files("client", certificates / "node.pem")  # signed nothing
    for wrong, host in ((other, "127.0.0.1"), (files("client"), "127.0.0.2")):
        assert send(*options(wrong), host=host) == 1
        assert "one side takes not the other's certificate" in capsys.readouterr().err
    assert send() == 1
    assert archive.stored == {}


def test_send_by_tls_needs_three_good_files(send, capsys, certificates, tmp_path):
    pem, key, ca = (str(certificates / name) for name in ("client.pem", "client.key", "ca.pem"))
    (tmp_path / "text").write_text("no PEM")
    text, none = str(tmp_path / "text"), str(tmp_path / "none")
    for options, words in (
        (["--ca", ca], "TLS needs all three"),
        (["--cert", pem, "--key", none, "--ca", ca], f"{none}: is not there"),
        (["--cert", pem, "--key", str(certificates / "ca.key"), "--ca", ca], "and its key in PEM"),
        (["--cert", pem, "--key", key, "--ca", text], f"{text}: must hold certificates"),
    ):
        assert send(*options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


def test_answer_that_the_library_takes_from_its_sender_comes_back(peers, archive):
    from pynetdicom.dimse_primitives import C_STORE

    archive.start()
    sender = peers.Sender(archive.port, called="ARCHIVE", contexts=[build_context(peers.PET)])
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = 1, 0
    sender.association._serve_request(answer, 1)
    assert sender.association.dimse.get_msg() == (1, answer)
    sender.release()
