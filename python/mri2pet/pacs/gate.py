"""Who may connect, and how much a connection may take, before pynetdicom decides anything.

pynetdicom starts a thread for every connection, shakes TLS hands on the thread that accepts, and
reads as many bytes as a PDU's header claims. Here an address that is not listed, or has too many
connections, is closed at once; TLS is negotiated on the connection's own thread; and a PDU or a
message that is too long or too slow ends its connection.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from mri2pet.errors import UsageError
from mri2pet.pacs.settings import TLS, NodeSettings

LONGEST_INSTANCE = 4 << 30
LONGEST_MESSAGE = 4 << 20
"""Bytes of a message that is kept in memory: all but images."""
MIB = 1 << 20

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without the form that IPv4 has on IPv6 sockets, and without a zone."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


class AllowList:
    """Which addresses may connect, which AE titles under which of them, and who may send.

    The destination may always connect, to report. Without peers (which needs a loopback address
    to listen on) every process of this machine may send.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._open = not settings.peers
        self._entries: list[tuple[str, list[Network], bool]] = [
            (p.aet, [ipaddress.ip_network(a, strict=False) for a in p.addresses], p.may_send)
            for p in settings.peers
        ]
        self._destination = settings.destination
        self._resolved: tuple[float, list[Network]] = (float("-inf"), [])

    def _to(self) -> list[Network]:
        """The destination's addresses, looked up once a minute."""
        when, networks = self._resolved
        if time.monotonic() - when > 60:
            try:
                found = socket.getaddrinfo(self._destination.host, None, type=socket.SOCK_STREAM)
                networks = [ipaddress.ip_network(plain(str(f[4][0]))) for f in found]
            except OSError:
                networks = []
            self._resolved = (time.monotonic(), networks)
        return networks

    def _all(self) -> list[tuple[str, list[Network], bool]]:
        return [*self._entries, (self._destination.aet, self._to(), False)]

    def address(self, address: str) -> bool:
        own = plain(address)
        if self._open and own.is_loopback:
            return True
        return any(own in network for _, networks, _ in self._all() for network in networks)

    def pair(self, aet: str, address: str, *, to_send: bool = False) -> bool:
        """Whether this AE title may come from this address, and whether it may send images."""
        own = plain(address)
        if self._open and own.is_loopback:
            return True
        return any(
            name == aet and (may_send or not to_send) and any(own in n for n in networks)
            for name, networks, may_send in self._all()
        )

    def is_destination(self, aet: str, address: str) -> bool:
        return aet == self._destination.aet and any(plain(address) in n for n in self._to())


def server_context(tls: TLS) -> ssl.SSLContext:
    """TLS 1.2 and newer for connections to us.

    Raises:
        UsageError: a file holds not what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    context.verify_mode = ssl.CERT_REQUIRED if tls.require_client else ssl.CERT_NONE
    return context


def client_context(tls: TLS) -> ssl.SSLContext:
    """TLS 1.2 and newer for our connections; the other's certificate must name its host.

    Raises:
        UsageError: a file holds not what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    return context


def _load(context: ssl.SSLContext, tls: TLS) -> None:
    try:
        context.load_cert_chain(tls.cert, tls.key, password="")  # nobody is there to be asked
    except OSError:
        raise UsageError(
            f"{tls.cert}, {tls.key}: must be a certificate and its key in PEM, without a password"
        ) from None
    try:
        context.load_verify_locations(tls.ca)
    except OSError:
        raise UsageError(f"{tls.ca}: must hold certificates of authorities in PEM") from None


class Limits:
    """What one connection may take; replaces `recv` of pynetdicom's socket.

    `refused` is called with a word when a limit ends the connection, `can_write` tells whether the
    disk can take more of an image.
    """

    def __init__(
        self, wrapped: AssociationSocket, max_pdu: int, *, greet_s: float, timeout_s: float
    ) -> None:
        self._wrapped, self._max_pdu = wrapped, max_pdu
        self._greet_s, self._timeout_s = greet_s, timeout_s
        self._message = 0
        self.can_write: Callable[[], bool] = lambda: True
        self.refused: Callable[[str], None] = lambda _: None

    def message_ended(self, _: object = None) -> None:
        self._message = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes` bytes, or fewer when the peer is gone.

        Raises:
            OSError: the PDU or its message is longer than allowed, or the disk is full.
            TimeoutError: the whole PDU did not come in time.
        """
        count = nr_bytes
        self._message += count
        dimse = self._wrapped.assoc.dimse.message
        on_disk = dimse is not None and dimse._data_set_file is not None
        if count > self._max_pdu + 6 or self._message > (
            LONGEST_INSTANCE if on_disk else LONGEST_MESSAGE
        ):
            self.refused("length")
            raise OSError("longer than allowed")
        if on_disk and not self.can_write():
            self.refused("disk")
            raise OSError("no room")
        connection = self._wrapped.socket
        assert connection is not None
        buffer, got = bytearray(count), 0
        met = self._wrapped.assoc.is_established
        end = time.monotonic() + (self._timeout_s if met else self._greet_s)
        with memoryview(buffer) as view:
            while got < count:
                try:
                    connection.settimeout(max(1e-3, end - time.monotonic()))
                    received = connection.recv_into(view[got:], min(count - got, MIB))
                except TimeoutError:
                    self.refused("slow")
                    raise
                if not received:
                    break
                got += received
        connection.settimeout(self._timeout_s)
        # A sender that holds small packets back until the last one's ACK would wait 40 ms for it;
        # the kernel forgets this after some packets.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return buffer[:got]


class _Handler(RequestHandler):
    """One connection, until its association ended: the thread waits for it."""

    server: Gate

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        association = self._create_association()
        wrapped = association.dul.socket
        assert wrapped is not None
        limits = Limits(
            wrapped,
            self.server.max_pdu,
            greet_s=self.server.greet_s,
            timeout_s=self.server.timeout_s,
        )
        limits.refused, limits.can_write = self.server.refused, self.server.can_write
        wrapped.recv = limits.recv  # type: ignore[method-assign]
        association.bind(evt.EVT_DIMSE_RECV, limits.message_ended)
        self.server.before(association)
        association.start()
        association.join()
        self.server.after(association)


class Gate(ThreadedAssociationServer):
    """The listening socket."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        *arguments: Any,
        allowed: AllowList,
        settings: NodeSettings,
        timeout_s: float,
        greet_s: float,
        refused: Callable[[str], None],
        can_write: Callable[[], bool],
        before: Callable[[Any], None],
        after: Callable[[Any], None],
        **more: Any,
    ) -> None:
        self.allowed, self.max_pdu = allowed, settings.max_pdu
        self.timeout_s, self.greet_s = timeout_s, greet_s
        self.per_peer, self.most = settings.per_peer, settings.max_associations
        self.refused, self.can_write = refused, can_write
        self.before, self.after = before, after
        self._connections: Counter[str] = Counter()
        self._counting = threading.Lock()
        tls = None if settings.tls is None else server_context(settings.tls)
        more["request_handler"] = _Handler
        super().__init__(*arguments, **more)
        self.tls = tls

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Before any thread starts."""
        host = str(plain(client_address[0]))
        if not self.allowed.address(host):
            self.refused("address")
            return False
        with self._counting:
            crowded = self._connections[host] >= self.per_peer
            if crowded or self._connections.total() >= self.most:
                self.refused("crowded")
                return False
            self._connections[host] += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.tls is not None:
                request.settimeout(self.greet_s)
                request = self.tls.wrap_socket(request, server_side=True)
            request.settimeout(self.timeout_s)
            self.finish_request(request, client_address)
        except OSError:  # of TLS, or gone already
            self.refused("tls" if self.tls is not None else "connection")
        finally:
            with self._counting:
                self._connections[str(plain(client_address[0]))] -= 1
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.refused("connection")
