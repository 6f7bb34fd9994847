"""Sends results to the archive and asks it to keep them, on one thread, one job after another."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Any

from mri2pet.pacs import archive, deliveries
from mri2pet.pacs.archive import Archive, Undelivered
from mri2pet.pacs.database import Database
from mri2pet.pacs.deliveries import Patience
from mri2pet.pacs.gate import client_context
from mri2pet.pacs.jobs import end
from mri2pet.pacs.privacy import log, where
from mri2pet.pacs.reception import Reception
from mri2pet.pacs.settings import NodeSettings
from mri2pet.pacs.spool import Spool

POLL_S = 0.2
LINGER_S = 2.0
"""So long an association waits for more to send, and for reports that may come on it."""


class Delivery:
    """`start` and `stop` its thread."""

    def __init__(
        self,
        settings: NodeSettings,
        spool: Spool,
        database: Database,
        reception: Reception,
        patience: Patience,
        timeout_s: float,
    ) -> None:
        to = settings.destination
        tls = client_context(settings.tls) if to.tls and settings.tls is not None else None
        self.archive = Archive(
            settings.aet, to, tls=tls, report=reception.report, timeout_s=timeout_s
        )
        self._commitment = to.commitment
        self._spool, self._database, self._patience = spool, database, patience
        self._stop = threading.Event()
        self._association: Any = None
        self._agreed: set[tuple[str, str]] = set()
        self._used = 0.0
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                job = deliveries.due(self._database)
                if job is None:
                    self._rest()
                elif job["state"] == "sending":
                    self._deliver(job)
                else:
                    self._ask(job)
            except Exception as error:  # a full disk; a library's surprise: not the thread's end
                log("delivery", where=where(error))
                self._association = None
                self._stop.wait(5)
        self._release()

    def _deliver(self, job: sqlite3.Row) -> None:
        rows = deliveries.instances(self._database, job["id"], "waiting")
        contexts = {(row["class"], row["syntax"]) for row in rows}
        began = time.monotonic()
        try:
            association = self._associated(contexts)
            for row in rows:
                archive.store(association, self._spool.results / job["name"] / row["file"])
                if self._stop.is_set():
                    return
        except FileNotFoundError:
            log("failed", job=job["name"], code="files")
            end(self._database, job["id"], "failed", "files", "Its files are gone.")
            return
        except Undelivered as error:
            self._failed(job, error)
            return
        deliveries.stored(self._database, job["id"], self._patience, commitment=self._commitment)
        seconds = round(time.monotonic() - began, 3)
        log("stored", job=job["name"], instances=len(rows), seconds=seconds)
        self._used = time.monotonic()
        if self._commitment:
            self._ask(job)

    def _ask(self, job: sqlite3.Row) -> None:
        from pydicom.uid import generate_uid

        rows = deliveries.instances(self._database, job["id"], "stored")
        uid = str(generate_uid())
        try:
            association = self._associated(set())
            deliveries.asking(self._database, job["id"], uid)
            archive.ask(association, uid, [(row["class"], row["sop"]) for row in rows])
        except Undelivered as error:
            self._failed(job, error)
            return
        self._used = time.monotonic()
        if not deliveries.asked(self._database, job["id"], self._patience):
            log("failed", job=job["name"], code="unconfirmed")
            text = "The destination took the images but never confirmed that it keeps them."
            end(self._database, job["id"], "failed", "unconfirmed", text)

    def _associated(self, contexts: set[tuple[str, str]]) -> Any:
        if self._association is not None:
            if self._association.is_established and contexts <= self._agreed:
                return self._association
            self._release()
        association = self.archive.associate(contexts, commitment=self._commitment)
        self._association = association
        archive.takes(association, contexts, commitment=self._commitment)
        self._agreed = contexts
        self._used = time.monotonic()
        return association

    def _failed(self, job: sqlite3.Row, error: Undelivered) -> None:
        self._release()
        log("undelivered", job=job["name"], code=error.code, tries=job["tries"])
        self._database.count({f"undelivered:{error.code}": 1})
        if error.permanent:
            end(self._database, job["id"], "failed", error.code, error.sentence)
            return
        for row in deliveries.postpone(self._database, self._patience):
            log("failed", job=row["name"], code="undelivered")

    def _rest(self) -> None:
        if self._association is not None and time.monotonic() - self._used > LINGER_S:
            self._release()
        self._stop.wait(POLL_S)

    def _release(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()
