"""A quiet series is compared with what the query peer has of it."""

from __future__ import annotations

import socket

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


class Finder:
    """A query peer that has `count` instances of every series: None: it has none of them, "":
    it tells no number. `status` is its last answer; for series in `fails` a failure."""

    def __init__(self, port):
        self.count, self.status, self.asked, self.fails = None, 0, [], set()
        self._port, self._server = port, None

    def start(self, tls=None):
        ae = AE("FINDER")
        ae.add_supported_context(FIND)
        handlers = [(evt.EVT_C_FIND, self._find)]
        self._server = ae.start_server(
            ("127.0.0.1", self._port), block=False, evt_handlers=handlers, ssl_context=tls
        )

    def stop(self):
        if self._server is not None:
            self._server.shutdown()

    def _find(self, event):
        asked = event.identifier
        self.asked.append(asked)
        if asked.SeriesInstanceUID in self.fails:
            yield 0xC000, None
            return
        if self.count is not None and self.status == 0:
            found = Dataset()
            found.QueryRetrieveLevel = "SERIES"
            found.SeriesInstanceUID = asked.SeriesInstanceUID
            found.NumberOfSeriesRelatedInstances = self.count
            yield 0xFF00, found
        yield self.status, None


@pytest.fixture
def finder(peers):
    made = Finder(peers.free_port())
    yield made
    made.stop()


@pytest.fixture
def node(within, finder):
    return lambda **more: within(
        query={"aet": "FINDER", "host": "127.0.0.1", "port": finder._port}, **more
    )


def job(node):
    return node.database.row("SELECT * FROM job")


def test_series_of_which_the_peer_has_more_waits_and_is_refused(node, finder, peers):
    finder.count = 5
    finder.start()
    node = node(stable_s=0.1, incomplete_s=0.5)
    series = peers.made_series(3)
    assert peers.send(node.port, series) == [0] * 3
    peers.wait_for(lambda: node.states() == ["refused"], "a refused series")
    assert job(node)["reason"] == "Only 3 of 5 slices came."
    assert len(finder.asked) == 1
    (asked,) = finder.asked
    assert asked.QueryRetrieveLevel == "SERIES"
    assert asked.StudyInstanceUID == series[0].StudyInstanceUID
    assert asked.SeriesInstanceUID == series[0].SeriesInstanceUID


@pytest.fixture
def short(node, finder, peers):
    """A node that knows of two missing slices, and all five."""
    finder.count = 5
    finder.start()
    node = node(stable_s=0.1, incomplete_s=60)
    series = peers.made_series(5)
    peers.send(node.port, series[:3])
    peers.wait_for(lambda: job(node)["reason"], "a count")
    return node, series


def test_the_missing_slices_make_it_whole(short, finder, peers):
    node, series = short
    assert node.states() == ["receiving"]
    peers.send(node.port, series[3:])
    peers.wait_for(lambda: node.states() == ["ready"], "a whole series")
    assert job(node)["reason"] is None
    assert len(finder.asked) == 2


def test_the_missing_slices_may_come_on_the_association_of_the_others(node, finder, peers):
    """Which went on to another study in between."""
    finder.count = 5
    finder.start()
    node = node(stable_s=0.1, incomplete_s=60)
    series = peers.made_series(5)
    sender = peers.Sender(node.port)
    sender.store(series[:3])
    now = "(julianday('now') - julianday('1970-01-01')) * 86400"
    quiet = f"SELECT count(*) AS n FROM job WHERE touched < {now} - 0.3"
    peers.wait_for(lambda: node.database.row(quiet)["n"] == 1, "a series that has been quiet")
    sender.store(peers.made_series(5))
    peers.wait_for(lambda: job(node)["reason"], "a count")
    sender.store(series[3:])
    sender.release()
    peers.wait_for(lambda: node.states() == ["ready", "ready"], "two whole series")


def test_a_count_is_forgotten_when_a_later_transfer_breaks_off(short, peers):
    from mri2pet.pacs import arrivals

    node, series = short
    sender = peers.Sender(node.port)
    sender.store(series[3:4])
    arrivals.associations_lost(node.database)  # as a receiver that was killed starts
    assert job(node)["doubtful"] > arrivals.OLDEST
    assert job(node)["reason"] is None
    sender.release()


@pytest.mark.parametrize("count", [3, 2, "", None], ids=["as many", "fewer", "no number", "none"])
def test_series_of_which_the_peer_has_no_more_is_ready(node, finder, peers, count):
    finder.count = count
    finder.start()
    node = node(stable_s=0.1, incomplete_s=60)
    peers.send(node.port, peers.made_series(3))
    peers.wait_for(lambda: node.states() == ["ready"], "a ready series")
    assert len(finder.asked) == 1


def test_peer_that_fails_is_asked_again(node, finder, peers):
    finder.status, finder.count = 0xA700, 3
    finder.start()
    node = node(stable_s=0.1, incomplete_s=60)
    peers.send(node.port, peers.made_series(3))
    peers.wait_for(lambda: len(finder.asked) == 2, "two questions")
    assert node.states() == ["receiving"]
    finder.status = 0
    peers.wait_for(lambda: node.states() == ["ready"], "a ready series")


def test_a_series_that_the_peer_fails_on_holds_up_no_other(node, finder, peers):
    one, other = peers.made_series(3), peers.made_series(3)
    finder.count, finder.fails = 3, {one[0].SeriesInstanceUID}
    finder.start()
    node = node(stable_s=0.1, incomplete_s=60)
    peers.send(node.port, one)
    peers.send(node.port, other)
    peers.wait_for(lambda: node.states() == ["receiving", "ready"], "the other series")


def test_peer_that_no_name_server_knows_holds_nothing_up_for_ever(within, peers, monkeypatch):
    real = socket.getaddrinfo

    def known(host, *rest, **more):
        if host == "finder.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    query = {"aet": "FINDER", "host": "finder.invalid", "port": 104}
    node = within(query=query, stable_s=0.1, incomplete_s=0.5)
    peers.send(node.port, peers.made_series(3))
    peers.wait_for(lambda: node.states() == ["ready"], "a ready series")


def test_peer_that_is_not_there_holds_nothing_up_for_ever(node, peers):
    node = node(stable_s=0.1, incomplete_s=0.5)
    peers.send(node.port, peers.made_series(3))
    peers.wait_for(lambda: node.states() == ["ready"], "a ready series")


def test_peer_is_asked_by_tls(within, finder, peers, certificates):
    """Which asks for the node's certificate, and has one that names its host."""
    import ssl

    from mri2pet.pacs.gate import server_context
    from mri2pet.pacs.settings import TLS

    names = {"cert": "node.pem", "key": "node.key", "ca": "ca.pem"}
    tls = {name: str(certificates / file) for name, file in names.items()}
    finder.count = 5
    finder.start(server_context(TLS(**tls)))
    query = {"aet": "FINDER", "host": "127.0.0.1", "port": finder._port, "tls": True}
    node = within(query=query, tls=tls, stable_s=0.1, incomplete_s=0.5)
    sender = ssl.create_default_context(cafile=tls["ca"])
    sender.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    series = peers.made_series(3)
    assert peers.send(node.port, series, tls_args=(sender, "127.0.0.1")) == [0] * 3
    peers.wait_for(lambda: node.states() == ["refused"], "a refused series")
    assert job(node)["reason"] == "Only 3 of 5 slices came."
