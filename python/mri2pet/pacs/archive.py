"""Another system as a storage user sees it: C-ECHO, C-STORE, and asking for commitment."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import PresentationContext, build_context, build_role

from mri2pet.pacs.contexts import COMMITMENT, COMMITMENT_INSTANCE, UNCOMPRESSED, VERIFICATION
from mri2pet.pacs.settings import Remote

ALREADY_THERE = 0x0111
PERMANENT = {0x0122, 0x0124, 0x0117, 0x0118}
LARGEST_PDU = 131072
Report = Callable[[Any], tuple[int, None]]


class Undelivered(Exception):
    """Something was not taken; `code` is a word, `sentence` what a person may read.

    Trying again is useless when `permanent`; else it may help.
    """

    def __init__(self, code: str, sentence: str, *, permanent: bool) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.permanent = code, sentence, permanent


class Archive:
    """Associations with one system; `report` handles storage commitment reports on them."""

    def __init__(
        self,
        aet: str,
        destination: Remote,
        *,
        tls: ssl.SSLContext | None = None,
        report: Report | None = None,
        timeout_s: float = 30,
    ) -> None:
        _config.STORE_SEND_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"
        self._destination, self._tls, self._report = destination, tls, report
        self._ae = AE(aet)
        self._ae.connection_timeout = self._ae.acse_timeout = min(10.0, timeout_s)
        self._ae.dimse_timeout = self._ae.network_timeout = timeout_s
        self._ae.maximum_pdu_size = LARGEST_PDU

    def associate(self, contexts: Iterable[tuple[str, str]], *, commitment: bool) -> Any:
        """An association for instances of these (SOP class, transfer syntax).

        Raises:
            Undelivered: it was refused, or nobody answered.
        """
        wanted = [build_context(name, syntax) for name, syntax in sorted(set(contexts))]
        roles = []
        if commitment:
            wanted.append(build_context(COMMITMENT, list(UNCOMPRESSED)))
            roles.append(build_role(COMMITMENT, scu_role=True, scp_role=False))
        return self._associate(wanted, roles)

    def echo(self) -> bool:
        """Whether it answers C-ECHO."""
        try:
            association = self._associate([build_context(VERIFICATION, list(UNCOMPRESSED))], [])
        except Undelivered:
            return False
        try:
            status = association.send_c_echo()
            association.release()
        except (RuntimeError, ValueError):  # the association is gone
            return False
        return "Status" in status and status.Status == 0

    def _associate(self, contexts: list[PresentationContext], roles: list[Any]) -> Any:
        to = self._destination
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, _without_delay)]
        if self._report is not None:
            handlers.append((evt.EVT_N_EVENT_REPORT, self._report))
        try:
            association = self._ae.associate(
                to.host,
                to.port,
                contexts=contexts,
                ae_title=to.aet,
                max_pdu=LARGEST_PDU,
                ext_neg=roles,
                tls_args=None if self._tls is None else (self._tls, to.host),
                evt_handlers=handlers,
            )
        except (OSError, UnicodeError):  # the name server does not know it, or is away
            text = f"The host {to.host} is not found."
            raise Undelivered("unreachable", text, permanent=False) from None
        if association.is_established:
            keep_answers(association)
            return association
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None and answer.result == 0x01:
            reason = {3: "does not know our AE title", 7: "has another AE title"}
            why = reason.get(answer.diagnostic or 0, "refuses us")
            raise Undelivered("rejected", f"The destination {why}.", permanent=True)
        if association.is_aborted and answer is not None and answer.result == 0x00:
            raise Undelivered("context", "The destination takes no such images.", permanent=True)
        why = "" if self._tls is None else " by TLS, or one side takes not the other's certificate"
        raise Undelivered("unreachable", f"The destination does not answer{why}.", permanent=False)


def keep_answers(association: Any) -> None:
    """Lets no answer get lost on an association that we send on.

    pynetdicom's own thread of it may, on a busy machine, take the answer that the sending thread
    waits for, and drop it as unexpected: the sender then waits until its timeout. It goes back
    into the queue instead.
    """
    serve = association._serve_request

    def keep(message: Any, context: int) -> None:
        if message.MessageIDBeingRespondedTo is not None:
            association.dimse.msg_queue.put((context, message))
        else:
            serve(message, context)

    association._serve_request = keep


def _without_delay(event: Any) -> None:
    """Small packets go out at once; else every answer costs the 40 ms of a delayed ACK."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def takes(association: Any, contexts: Iterable[tuple[str, str]], *, commitment: bool) -> None:
    """That an association may carry these (SOP class, transfer syntax).

    Raises:
        Undelivered: one of them was not agreed upon.
    """
    agreed = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    if not set(contexts) <= agreed:
        raise Undelivered("context", "The destination takes no such images.", permanent=True)
    if commitment and COMMITMENT not in {name for name, _ in agreed}:
        raise Undelivered(
            "commitment",
            "The destination has no storage commitment; set destination.commitment to false.",
            permanent=True,
        )


def store(association: Any, file: Path) -> None:
    """Sends one file.

    Raises:
        Undelivered: it was not taken.
    """
    try:
        answer = association.send_c_store(str(file))
    except (ValueError, RuntimeError):  # the association is gone
        raise _lost() from None
    if "Status" not in answer:
        raise _lost()
    status = int(answer.Status)
    if status in (0, ALREADY_THERE) or status >> 12 == 0xB:
        return
    permanent = status in PERMANENT or status >> 8 == 0xA9 or status >> 12 == 0xC
    text = f"The destination answered an image with the status {status:04X}."
    raise Undelivered(f"status_{status:04X}", text, permanent=permanent)


def ask(association: Any, uid: str, instances: Iterable[tuple[str, str]]) -> None:
    """Asks to keep instances, (SOP class, SOP instance), under a transaction's UID.

    Raises:
        Undelivered: it will not report on that.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    request, items = Dataset(), []
    request.TransactionUID = uid
    for sop_class, sop in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop
        items.append(item)
    request.ReferencedSOPSequence = Sequence(items)
    try:
        answer, _ = association.send_n_action(request, 1, COMMITMENT, COMMITMENT_INSTANCE)
    except (ValueError, RuntimeError):
        raise _lost() from None
    if "Status" not in answer:
        raise _lost()
    if answer.Status != 0:
        text = f"The destination answered the commitment with the status {answer.Status:04X}."
        raise Undelivered("commitment", text, permanent=False)


def _lost() -> Undelivered:
    return Undelivered("lost", "The connection to the destination broke off.", permanent=False)
