"""What comes in: statuses, what is on the disk when the sender hears of success, who may send."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import build_context

from mri2pet.errors import ProcessLost

ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
N, M = 8, 6


def files(node):
    return sorted(path.name for path in node.spool.incoming.iterdir())


def test_success_is_answered_after_file_folder_and_row_are_on_the_disk(within, peers, monkeypatch):
    from mri2pet.pacs import arrivals, reception

    done = []
    synced, added = reception.sync, arrivals.add

    def sync(path):
        done.append("folder" if path.is_dir() else "file")
        synced(path)

    def add(*given, **more):
        done.append("row")
        return added(*given, **more)

    monkeypatch.setattr(reception, "sync", sync)
    monkeypatch.setattr(reception.arrivals, "add", add)
    node = within()
    assert peers.send(node.port, peers.made_series(1)) == [0]
    assert done == ["file", "folder", "row"]
    assert node.database.rows("PRAGMA synchronous")[0][0] == 2
    assert node.database.rows("PRAGMA journal_mode")[0][0] == "wal"


def test_same_instance_again_changes_nothing_and_other_content_is_refused(within, peers):
    node = within(stable_s=30)
    series = peers.made_series(3)
    assert peers.send(node.port, series) == [0, 0, 0]
    before = files(node)
    assert peers.send(node.port, series) == [0, 0, 0]
    series[1].PixelData = bytes(512)
    assert peers.send(node.port, series) == [0, 0xC000, 0]
    assert files(node) == before
    peers.wait_for(
        lambda: node.database.row("SELECT doubtful FROM job")["doubtful"] > 0,
        "doubt, for its sender wanted another image to be taken",
    )


def test_worker_that_loses_a_process_of_its_own_leaves_its_job_to_the_next(within, peers):
    node = within()
    assert peers.send(node.port, peers.made_series(2, ImageComments="lost")) == [0, 0]
    peers.wait_for(lambda: node.states() == ["ready"], "a complete series")
    with pytest.raises(ProcessLost):
        node.work()
    assert node.states() == ["running"]  # the node gives it back when the worker has ended
    assert not list(node.spool.work.iterdir())


def test_quota_stops_the_sender(within, peers):
    node = within(quota_gib=3000 / 2**30, stable_s=30)
    series = peers.made_series(5)
    node.receiver.reception._held = (float("-inf"), 0)
    statuses = peers.send(node.port, series)
    assert statuses[:3] == [0, 0, 0]
    assert set(statuses[3:]) == {0xA700}
    peers.wait_for(lambda: node.database.row("SELECT doubtful FROM job")["doubtful"] > 0, "doubt")
    assert len(files(node)) == 3
    assert not node.receiver.reception.has_room()


def test_full_disk_ends_the_transfer_and_the_node_lives(within, peers, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted ({mounted.stderr.decode().strip()})")
    try:
        node = within(spool=str(disk), stable_s=30)
        series = peers.made_series(3)
        assert peers.send(node.port, series[:1]) == [0]
        assert node.receiver.reception.has_room()
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - (8 << 20)))
        sender = peers.Sender(node.port)
        statuses = sender.store(series[1:2])
        assert statuses == [None], "broken off while it was written"
        assert not node.receiver.reception.has_room()
        peers.wait_for(lambda: not list(node.spool.temporary.iterdir()), "no temporary file")
        filler.unlink()
        assert peers.send(node.port, series) == [0, 0, 0]
        node.receiver.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Modality": "CT"}, 0xA900),
        ({"SOPClassUID": ENHANCED}, 0xA900),
        ({"SOPInstanceUID": "1.2.3"}, 0xA900),
        ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": "2147483647"}, 0xC000),
        ({"PixelData": bytes(100)}, 0),
        ({"SeriesInstanceUID": "../../../x"}, 0xC000),
        ({"StudyInstanceUID": ""}, 0xC000),
        ({"PatientID": "../../../$(reboot)`x`<script>"}, 0),
    ],
)
def test_header_decides(within, peers, change, status):
    """Whether pixel data is short is for the reader, where the file is as long as it says."""
    node = within()
    (ds,) = peers.made_series(1)
    command = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))
    for name, value in change.items():
        setattr(ds, name, value)
    sender = peers.Sender(node.port)
    assert store_raw(sender, ds, *command) == status
    assert sender.release()
    assert len(files(node)) == (status == 0)
    assert all(len(name) == 53 for name in files(node))


def store_raw(sender, ds, sop_class, sop, raw=None):
    """C-STORE with other UIDs in the command than in the data set, or any bytes for it."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request._affected_sop_class_uid = request._AffectedSOPClassUID = sop_class
    request._affected_sop_instance_uid = request._AffectedSOPInstanceUID = sop
    request.DataSet = BytesIO(encode(ds, False, True) if raw is None else raw)
    association = sender.association
    context = next(c for c in association.accepted_contexts)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return None if answer is None else answer.Status


def nested(depth):
    item = b""
    for _ in range(depth):
        length = b"\xff\xff\xff\xff"
        item = (
            b"\x08\x00\x40\x11SQ\x00\x00" + length + b"\xfe\xff\x00\xe0" + length + item
            + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
        )  # fmt: skip
    return item


@pytest.mark.parametrize(
    "raw",
    [
        os.urandom(5000),
        b"PK\x03\x04" + bytes(3000),
        nested(400),
        b"\x08\x00\x05\x00CS\xff\xff" + bytes(10),
        b"\x10\x00\x10\x00UN\x00\x00\xf0\xff\xff\xff" + bytes(10),
    ],
    ids=["random", "zip", "400 sequences", "short", "4 GiB element"],
)
def test_bytes_that_are_no_instance_are_c000_and_the_node_lives(within, peers, raw):
    node = within()
    (ds,) = peers.made_series(1)
    sender = peers.Sender(node.port)
    assert store_raw(sender, None, str(ds.SOPClassUID), str(ds.SOPInstanceUID), raw) == 0xC000
    sender.release()
    assert peers.send(node.port, [ds]) == [0]


def test_uid_that_is_a_path_stays_out(within, peers, tmp_path):
    node = within()
    (ds,) = peers.made_series(1)
    ds.SOPInstanceUID = "../../../x"
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    sender = peers.Sender(node.port)
    assert store_raw(sender, ds, str(ds.SOPClassUID), "../../../x") == 0xC000
    sender.release()
    peers.wait_for(lambda: not list(node.spool.temporary.iterdir()), "no temporary file")
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    assert not Path("/x").exists()


def test_only_mr_without_deflate_is_negotiated(within, peers):
    node = within()
    contexts = [
        build_context(peers.MR, DeflatedExplicitVRLittleEndian),
        build_context(CT, ExplicitVRLittleEndian),
        build_context(peers.PET, ExplicitVRLittleEndian),
        build_context(peers.MR, ImplicitVRLittleEndian),
        build_context("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.1.2.4.90"),
        build_context("1.2.840.10008.5.1.4.1.2.2.1"),
    ]
    sender = peers.Sender(node.port, contexts=contexts)
    accepted = [str(c.abstract_syntax) for c in sender.association.accepted_contexts]
    assert accepted == [peers.MR, ENHANCED]
    syntaxes = [str(c.transfer_syntax[0]) for c in sender.association.accepted_contexts]
    assert syntaxes == [ImplicitVRLittleEndian, "1.2.840.10008.1.2.4.90"]
    sender.release()


@pytest.mark.parametrize(
    "who", [{"aet": "STRANGER"}, {"aet": "ELSEWHERE"}, {"called": "OTHER"}], ids=str
)
def test_ae_titles_and_addresses_that_do_not_fit_are_rejected(within, peers, who):
    node = within()
    sender = peers.Sender(node.port, **who)
    assert not sender.accepted
    assert sender.association.is_rejected


def test_peer_that_may_not_send_may_ask_whether_we_are_there(within, peers):
    node = within()
    echo = [build_context("1.2.840.10008.1.1"), build_context(peers.MR, ExplicitVRLittleEndian)]
    sender = peers.Sender(node.port, aet="READER", contexts=echo)
    assert sender.association.send_c_echo().Status == 0
    assert sender.store(peers.made_series(1)) == [0x0124]
    sender.release()


def test_broken_transfer_makes_no_pet_until_it_is_repeated(within, peers):
    node = within(incomplete_s=600)
    series = peers.made_series(N)
    sender = peers.Sender(node.port)
    assert sender.store(series[:M]) == [0] * M
    sender.association.abort()
    row = "SELECT doubtful, open, touched FROM job"
    peers.wait_for(lambda: node.database.row(row)["doubtful"] > 0, "a doubtful series")
    assert peers.send(node.port, [*peers.made_series(2)]) == [0, 0]
    peers.wait_for(lambda: node.states()[1] == "ready", "another series of another study")
    assert node.states()[0] == "receiving"
    assert peers.send(node.port, series) == [0] * N
    peers.wait_for(lambda: node.states()[0] == "ready", "a complete series")
    assert len(node.states()) == 2


def test_broken_transfer_that_is_not_repeated_is_refused_and_begins_again_with_a_late_repeat(
    within, peers
):
    node = within(incomplete_s=0.4)
    series = peers.made_series(N)
    sender = peers.Sender(node.port)
    sender.store(series[:M])
    sender.association.abort()
    peers.wait_for(lambda: node.states() == ["refused"], "a refused series")
    (row,) = node.database.rows("SELECT reason FROM job")
    assert row["reason"] == "The transfer broke off after 6 slices, and was not repeated."
    assert peers.send(node.port, series) == [0] * N
    peers.wait_for(lambda: node.states() == ["ready"], "a complete series")


def test_one_series_on_two_associations_is_one_job(within, peers):
    node = within()
    series = peers.made_series(N)
    one, two = peers.Sender(node.port), peers.Sender(node.port)
    for k in range(0, N, 2):
        assert one.store(series[k : k + 1]) == [0]
        assert two.store(series[k : k + 2]) == [0, 0]
    assert one.release()
    assert node.database.row("SELECT open FROM job")["open"] >= 1
    assert two.release()
    peers.wait_for(lambda: node.states() == ["ready"], "one complete series")
    assert len(files(node)) == N


def test_series_waits_for_the_rest_of_its_study(within, peers):
    node = within()
    study = generate_uid()
    first, second = (peers.made_series(2, study=study) for _ in range(2))
    sender = peers.Sender(node.port)
    assert sender.store(second[:1]) == [0]
    assert peers.send(node.port, first) == [0, 0]
    now = "(julianday('now') - julianday('1970-01-01')) * 86400"
    quiet = f"SELECT count(*) AS n FROM job WHERE open = 0 AND touched < {now} - 0.3"
    peers.wait_for(lambda: node.database.row(quiet)["n"] == 1, "a series that has been quiet")
    assert node.states() == ["receiving", "receiving"]
    sender.store(second[1:])
    sender.release()
    peers.wait_for(lambda: node.states() == ["ready", "ready"], "both")


def test_late_slice_makes_one_new_job_of_the_whole_series(within, peers):
    from mri2pet.pacs.jobs import take

    node = within()
    series = peers.made_series(5)
    peers.send(node.port, series[:4])
    peers.wait_for(lambda: node.states() == ["ready"], "a complete series")
    first = take(node.database)
    assert peers.send(node.port, series) == [0] * 5
    peers.wait_for(lambda: node.states() == ["running", "ready"], "the series with a late slice")
    second = take(node.database)
    assert (len(first.files), len(second.files)) == (4, 5)
    assert second.name == f"{first.name}-2"


def test_stop_makes_what_is_half_sent_doubtful(within, peers):
    node = within(stable_s=30)
    sender = peers.Sender(node.port)
    assert sender.store(peers.made_series(3)) == [0, 0, 0]
    node.receiver.reception.stop(0.1)
    row = node.database.row("SELECT doubtful, open FROM job")
    assert row["doubtful"] > 0
    assert row["open"] == 0


def test_end_is_noted_before_the_release_is_answered(within, peers, monkeypatch):
    """A sender that heard the answer will not come again, whatever happens to us next."""
    from mri2pet.pacs import reception

    node = within(stable_s=30)
    noted = []
    ended = reception.arrivals.ended

    def slow(*given, **more):
        noted.append(sender.association.is_released)
        ended(*given, **more)

    monkeypatch.setattr(reception.arrivals, "ended", slow)
    sender = peers.Sender(node.port)
    assert sender.store(peers.made_series(2)) == [0, 0]
    assert sender.release()
    assert noted == [False]
    row = node.database.row("SELECT open, doubtful FROM job")
    assert (row["open"], row["doubtful"]) == (0, 0)


def test_who_asks_the_node_to_keep_images_is_told_that_it_does_not(within, peers):
    from pydicom.dataset import Dataset

    node = within()
    sender = peers.Sender(node.port, contexts=[build_context(peers.COMMITMENT)])
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = generate_uid(), []
    answer, _ = sender.association.send_n_action(
        asked, 1, peers.COMMITMENT, peers.COMMITMENT_INSTANCE
    )
    assert answer.Status == 0x0211
    sender.release()
