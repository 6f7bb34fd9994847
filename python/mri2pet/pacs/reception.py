"""The storage provider: instances come in, each on the disk and in the queue before the sender
hears that it was taken."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.pdu_primitives import A_RELEASE

from mri2pet.errors import UsageError
from mri2pet.pacs import arrivals
from mri2pet.pacs.contexts import COMMITMENT, COMPRESSED, MR_CLASSES, UNCOMPRESSED, VERIFICATION
from mri2pet.pacs.database import Database
from mri2pet.pacs.deliveries import reported
from mri2pet.pacs.gate import AllowList, Gate
from mri2pet.pacs.instance import Unacceptable, data_set_hash, examine
from mri2pet.pacs.privacy import Identifiers, job_name, log
from mri2pet.pacs.settings import NodeSettings
from mri2pet.pacs.spool import RESERVE, Spool, name_of, sync

SUCCESS, NO_ROOM, CONFLICT, INTERNAL, NOT_OURS = 0x0000, 0xA700, 0xC000, 0x0110, 0x0211
GIB = float(1 << 30)


@dataclass(frozen=True)
class Timeouts:
    """Seconds: until a connection has introduced itself, and of silence after that."""

    greet_s: float = 5
    idle_s: float = 30


@dataclass
class _Transfer:
    """What one association carried: job → (its study, when it was last touched), since `began`."""

    began: float
    carried: dict[int, tuple[str, float]] = field(default_factory=dict)
    broken_series: set[str] = field(default_factory=set)
    all_broken: bool = False
    series: dict[int, str] = field(default_factory=dict)


class Reception:
    """Listens at `settings.bind`; `start` and `stop` it."""

    def __init__(
        self,
        settings: NodeSettings,
        spool: Spool,
        database: Database,
        identifiers: Identifiers,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._settings, self._spool, self._database = settings, spool, database
        self._identifiers, self._timeouts = identifiers, timeouts or Timeouts()
        self._key = spool.key()
        self._allowed = AllowList(settings)
        self._transfers: dict[int, _Transfer] = {}
        self._counting = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._held = (float("-inf"), 0)
        self._server: Gate | None = None

    def start(self) -> None:
        """Begins to listen.

        Raises:
            UsageError: the address is taken, or is none of this machine.
        """
        _config.STORE_RECV_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"
        tempfile.tempdir = str(self._spool.temporary)
        settings, ae = self._settings, AE(self._settings.aet)
        ae.maximum_pdu_size = settings.max_pdu
        ae.maximum_associations = 2 * settings.max_associations  # the gate counts
        ae.acse_timeout = self._timeouts.greet_s
        ae.network_timeout = ae.dimse_timeout = self._timeouts.idle_s
        ae.require_called_aet = True
        ae.add_supported_context(VERIFICATION)
        for name in MR_CLASSES:
            ae.add_supported_context(name, [*UNCOMPRESSED, *COMPRESSED])
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACSE_RECV, self._release_asked),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self.report),
            (evt.EVT_N_ACTION, lambda _: (NOT_OURS, None)),  # whoever asks us to keep images
        ]
        try:
            server: Any = ae.make_server(
                (settings.bind, settings.port),
                evt_handlers=handlers,
                server_class=Gate,
                allowed=self._allowed,
                settings=settings,
                timeout_s=self._timeouts.idle_s,
                greet_s=self._timeouts.greet_s,
                refused=self.refused,
                can_write=self._spool.can_write,
                before=self._before,
                after=self._after,
            )
        except OSError as error:
            raise UsageError(
                f"cannot listen on {settings.bind}, port {settings.port} ({error.strerror})"
            ) from None
        ae._servers.append(server)  # where its shutdown looks for it
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self, patience_s: float) -> None:
        """Takes no more connections; those that are open have so many seconds to end."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        end = time.monotonic() + patience_s
        for association in server.active_associations:
            if association.is_established:
                association.join(max(0.0, end - time.monotonic()))
        left = [a for a in server.active_associations if a.is_established]
        for association in left:
            association.abort(block=False)
        end = time.monotonic() + 1.5
        for association in left:
            association.join(max(0.0, end - time.monotonic()))

    def refused(self, code: str) -> None:
        with self._counting:
            self._counted[f"refused:{code}"] += 1
            first = self._counted[f"refused:{code}"] == 1  # a line a second each at most
        if first:
            log("refused", code=code)

    def counted(self) -> dict[str, float]:
        """Counts since the last call, by name."""
        with self._counting:
            counted, self._counted = dict(self._counted), Counter()
        return {name: float(count) for name, count in counted.items()}

    def has_room(self) -> bool:
        """Whether quota and disk leave room for more."""
        when, held = self._held
        if time.monotonic() - when > 1:
            held = arrivals.bytes_held(self._database)
            self._held = (time.monotonic(), held)
        least = max(self._settings.min_free_gib * GIB, RESERVE)
        return held < self._settings.quota_gib * GIB and self._spool.free_bytes() >= least

    def _requested(self, event: Any) -> None:
        """The AE title must be one that may come from this address."""
        association = event.assoc
        title = str(association.requestor.primitive.calling_ae_title or "").strip()
        if not self._allowed.pair(title, association.requestor.address):
            self.refused("aet")
            association.acse.send_reject(0x01, 0x01, 0x03)
            association.kill()

    def _store(self, event: Any) -> int:
        transfer = self._transfers[id(event.assoc)]
        try:
            return self._take(event, transfer)
        except Unacceptable as error:
            status, code, series = error.status, error.code, error.series
        except (OSError, sqlite3.OperationalError) as error:
            full = getattr(error, "errno", None) == 28 or "full" in str(error)
            status, code, series = (NO_ROOM if full else INTERNAL), "disk", None
        if series is None:
            transfer.all_broken = True
        else:
            transfer.broken_series.add(series)
        self.refused(code)
        return status

    def _take(self, event: Any, transfer: _Transfer) -> int:
        requestor, request = event.assoc.requestor, event.request
        if not self._allowed.pair(requestor.ae_title.strip(), requestor.address, to_send=True):
            raise Unacceptable(0x0124, "may_send")
        path = Path(event.dataset_path)
        sop = str(request.AffectedSOPInstanceUID)
        header = examine(
            path,
            sop=sop,
            sop_class=str(request.AffectedSOPClassUID),
            syntax=str(event.context.transfer_syntax),
        )
        digest, size = data_set_hash(path), path.stat().st_size
        final = self._spool.incoming / name_of(sop, digest)
        known = arrivals.is_known(self._database, sop, digest)
        if known is None:
            if not self.has_room():
                raise Unacceptable(NO_ROOM, "room", header.series)
            sync(path)
            path.rename(final)
            sync(self._spool.incoming)
            self._held = (self._held[0], self._held[1] + size)
        self._let_go(transfer, header.study)
        outcome, job = arrivals.add(
            self._database,
            self._key,
            arrivals.Arrival(sop, header.series, header.study, digest, final.name, size),
            carried=transfer.carried,
        )
        if outcome is arrivals.Outcome.CONFLICT:
            if known is None:
                final.unlink(missing_ok=True)
            raise Unacceptable(CONFLICT, "conflict", header.series)
        if known and outcome is arrivals.Outcome.NEW:  # it was being removed in between
            sync(path)
            path.rename(final)
            sync(self._spool.incoming)
        if job is not None:
            if job not in transfer.carried:
                name = job_name(self._key, header.series)
                log("receiving", job=name)
                self._identifiers.note("receiving", job=name, series=header.series)
            transfer.carried[job] = (header.study, time.monotonic())
            transfer.series[job] = header.series
        with self._counting:
            self._counted["instances"] += 1
        return SUCCESS

    def _let_go(self, transfer: _Transfer, study: str) -> None:
        """The association has gone on to another study: what has been quiet was whole."""
        quiet = time.monotonic() - self._settings.stable_s
        past = [j for j, (other, at) in transfer.carried.items() if other != study and at <= quiet]
        if past:
            broken = [j for j in past if transfer.series[j] in transfer.broken_series]
            arrivals.ended(self._database, past, began=transfer.began, broken=broken)
            for job in past:
                del transfer.carried[job]

    def _before(self, association: Any) -> None:
        self._transfers[id(association)] = _Transfer(time.time())

    def _after(self, association: Any) -> None:
        """An association ended."""
        _remove_unfinished(association.dimse)
        self._ended(self._transfers.pop(id(association)), released=False)

    def _release_asked(self, event: Any) -> None:
        """Before the release is answered: a sender that heard of it will not come again."""
        if isinstance(event.primitive, A_RELEASE) and event.primitive.result is None:
            self._ended(self._transfers[id(event.assoc)], released=True)

    def _ended(self, transfer: _Transfer, *, released: bool) -> None:
        """Notes what an association carried, once."""
        if not transfer.carried:
            return
        whole = released and not transfer.all_broken
        broken = [
            job
            for job in transfer.carried
            if not whole or transfer.series[job] in transfer.broken_series
        ]
        try:
            arrivals.ended(
                self._database, list(transfer.carried), began=transfer.began, broken=broken
            )
        except sqlite3.Error:  # a full disk; the next start makes them doubtful
            log("not_noted", series=len(transfer.carried))
            return
        transfer.carried.clear()
        if broken:
            log("broke_off", series=len(broken))

    def report(self, event: Any) -> tuple[int, None]:
        """A storage commitment report, on whichever association it comes."""
        requestor = event.assoc.requestor
        ours = event.assoc.is_requestor  # the association we asked on
        if not ours and not self._allowed.is_destination(
            requestor.ae_title.strip(), requestor.address
        ):
            self.refused("report")
            return 0x0124, None
        try:
            information = event.event_information
            uid = str(information.TransactionUID)
            kept, lost = (
                {str(item.ReferencedSOPInstanceUID) for item in information.get(name) or ()}
                for name in ("ReferencedSOPSequence", "FailedSOPSequence")
            )
        except Exception:  # whatever a stranger's bytes do to a parser
            self.refused("report")
            return INTERNAL, None
        job = reported(self._database, uid, kept, lost)
        if job is None:
            log("unknown_report")
            self.refused("transaction")
        else:
            log("reported", job=job["name"], state=job["state"], lost=len(lost))
        return SUCCESS, None


def _remove_unfinished(dimse: Any) -> None:
    """The files of images that an association left half-sent, or that nobody looked at."""
    message = dimse.message
    if message is not None and message._data_set_path is not None:
        with contextlib.suppress(OSError):  # the disk may be full
            message._data_set_file.close()
        message._data_set_path.unlink(missing_ok=True)
    while not dimse.msg_queue.empty():
        _, left = dimse.msg_queue.get_nowait()
        path = getattr(left, "_dataset_path", None)
        if path is not None:
            Path(path).unlink(missing_ok=True)
