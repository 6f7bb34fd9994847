"""What a stranger or a broken peer does to the port."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from pathlib import Path

import pytest
from pynetdicom import build_context


def connected(port, seconds=10):
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def is_closed(connection):
    """Whether the other side closes within the socket's timeout."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def patient(quick, greet_s, idle_s):
    from dataclasses import replace

    from mri2pet.pacs.reception import Timeouts

    return replace(quick, timeouts=Timeouts(greet_s=greet_s, idle_s=idle_s))


def still_takes(node, peers):
    """A good sender is heard; one whom a busy machine keeps beyond the limits calls again."""

    def takes():
        sender = peers.Sender(node.port)
        statuses = sender.store(peers.made_series(1)) if sender.accepted else []
        sender.release()
        return statuses == [0]

    return peers.wait_for(takes, "a series that is taken")


def wait_count(node, peers, name):
    """Until the node has counted a refusal under this name."""
    peers.wait_for(lambda: node.counters().get(f"refused:{name}"), f"a refusal by {name}")


@pytest.mark.parametrize("kind", [0x01, 0x04])
def test_pdu_that_claims_2_gib_is_cut_before_it_is_read(within, peers, kind):
    node = within()
    with connected(node.port) as connection:
        connection.sendall(struct.pack(">BBL", kind, 0, 2**31))
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 << 20:
                sent += connection.send(bytes(1 << 16))
        assert sent < 16 << 20, "what the sockets hold, no more"
    wait_count(node, peers, "length")
    assert still_takes(node, peers)


def test_pdu_within_an_association_is_cut_too(within, peers):
    node = within()
    sender = peers.Sender(node.port)
    raw = sender.association.dul.socket.socket
    raw.sendall(struct.pack(">BBL", 0x04, 0, 200_000))
    with contextlib.suppress(OSError):
        raw.sendall(bytes(200_000))
    wait_count(node, peers, "length")
    sender.association.abort()
    assert still_takes(node, peers)


def test_command_without_end_is_cut(within, peers, monkeypatch):
    from mri2pet.pacs import gate

    monkeypatch.setattr(gate, "LONGEST_MESSAGE", 300_000)
    node = within()
    sender = peers.Sender(node.port)
    raw = sender.association.dul.socket.socket
    fragment = bytes(60_000)
    pdv = struct.pack(">LBB", len(fragment) + 2, 1, 0x01) + fragment
    with contextlib.suppress(OSError):
        for _ in range(20):
            raw.sendall(struct.pack(">BBL", 0x04, 0, len(pdv)) + pdv)
    wait_count(node, peers, "length")
    sender.association.abort()
    assert still_takes(node, peers)


def test_image_without_end_is_cut_and_leaves_no_file(within, peers, monkeypatch):
    from mri2pet.pacs import gate

    monkeypatch.setattr(gate, "LONGEST_INSTANCE", 300_000)
    node = within()
    (ds,) = peers.made_series(1)
    ds.Rows = ds.Columns = 512
    ds.PixelData = bytes(512 * 512 * 2)
    sender = peers.Sender(node.port)
    assert sender.store([ds]) == [None]
    wait_count(node, peers, "length")
    peers.wait_for(lambda: not list(node.spool.temporary.iterdir()), "no temporary file")


def test_200_presentation_contexts_are_answered_or_cut(within, peers):
    node = within()
    sender = peers.Sender(
        node.port, contexts=[build_context(f"1.2.826.0.1.{k}") for k in range(127)]
        + [build_context(peers.MR)]
    )  # fmt: skip
    assert len(sender.association.accepted_contexts) == 1
    sender.release()
    item = b"".join(struct.pack(">BBH", k, 0, 17) + b"1.2.840.10008.1.2" for k in (0x30, 0x40))
    items = b"".join(
        struct.pack(">BBHBBBB", 0x20, 0, 4 + len(item), (2 * k + 1) % 256, 0, 0, 0) + item
        for k in range(200)
    )
    body = struct.pack(">HH16s16s32s", 1, 0, b"MRI2PET".ljust(16), b"SENDER".ljust(16), b"") + items
    with connected(node.port) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, len(body)) + body)
        answer = connection.recv(6)
        assert not answer or answer[0] in (0x02, 0x03, 0x07), "accepted, rejected, aborted or cut"
    assert still_takes(node, peers)


def test_silent_connections_shut_nobody_out_for_long(within, peers, quick):
    node = within(pace=patient(quick, 0.5, 30), per_peer=3)
    silent = [connected(node.port) for _ in range(40)]
    wait_count(node, peers, "crowded")
    assert all(is_closed(connection) for connection in silent)
    assert still_takes(node, peers)


def test_one_address_has_only_its_share_of_connections(within, peers):
    node = within(per_peer=2, max_associations=10)
    silent = [connected(node.port) for _ in range(2)]
    with connected(node.port, 3) as third:
        assert is_closed(third), "at once, while the others may still introduce themselves"
    for connection in silent:
        connection.close()


def test_slow_connections_are_cut(within, peers, quick):
    """One that says a byte of its greeting now and then, one that does so within a PDU."""
    node = within(pace=patient(quick, 0.4, 0.5))
    sender = peers.wait_for(lambda: peers.heard(node.port), "an association")
    raw = sender.association.dul.socket.socket
    raw.sendall(struct.pack(">BBL", 0x04, 0, 1000) + bytes(10))
    with connected(node.port) as connection:
        connection.sendall(struct.pack(">BBL", 0x01, 0, 1000) + bytes(10))
        assert is_closed(connection)
    wait_count(node, peers, "slow")
    peers.wait_for(lambda: not sender.association.is_established, "an ended association")
    assert still_takes(node, peers)


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"\0" * 99]
)
def test_other_protocols_are_cut(within, peers, quick, text):
    node = within(pace=patient(quick, 0.5, 30))
    with connected(node.port) as connection:
        connection.sendall(text)
        assert is_closed(connection)
    assert still_takes(node, peers)


def test_address_that_is_not_listed_gets_no_thread(within, peers, tree):
    import threading

    peer = {"aet": "SENDER", "addresses": ["10.0.0.0/8"]}
    node = within(peers=[peer], destination={**tree["destination"], "host": "10.0.0.7"})
    before = threading.active_count()
    with connected(node.port) as connection:
        assert is_closed(connection)
    wait_count(node, peers, "address")
    assert threading.active_count() <= before


def client(folder: Path, *, certificate: bool):
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if certificate:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


def with_tls(folder: Path):
    return {"cert": str(folder / "node.pem"), "key": str(folder / "node.key"),
            "ca": str(folder / "ca.pem")}  # fmt: skip


def test_tls_needs_a_certificate_and_a_silent_hand_shuts_nobody_out(
    within, peers, quick, certificates
):
    node = within(pace=patient(quick, 2, 30), tls=with_tls(certificates), per_peer=4)
    with connected(node.port), connected(node.port):
        good = (client(certificates, certificate=True), "127.0.0.1")
        assert peers.send(node.port, peers.made_series(2), tls_args=good) == [0, 0]
    assert not peers.Sender(node.port).accepted
    anonymous = (client(certificates, certificate=False), "127.0.0.1")
    assert not peers.Sender(node.port, tls_args=anonymous).accepted
    wait_count(node, peers, "tls")
    old = client(certificates, certificate=True)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    assert not peers.Sender(node.port, tls_args=(old, "127.0.0.1")).accepted


def test_report_on_a_transaction_that_was_never_made_is_ignored(within, peers, tree, capsys):
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid
    from pynetdicom import build_role

    node = within()
    told = Dataset()
    told.TransactionUID, told.ReferencedSOPSequence = generate_uid(), []
    for aet, status, name in (("ARCHIVE", 0, "transaction"), ("SENDER", 0x0124, "report")):
        sender = peers.Sender(
            node.port, aet=aet, contexts=[build_context(peers.COMMITMENT)],
            ext_neg=[build_role(peers.COMMITMENT, scp_role=True)],
        )  # fmt: skip
        answer, _ = sender.association.send_n_event_report(
            told, 1, peers.COMMITMENT, peers.COMMITMENT_INSTANCE
        )
        assert answer.Status == status
        sender.release()
        wait_count(node, peers, name)
    assert "unknown_report" in capsys.readouterr().out
