"""The process that talks DICOM: reception, delivery, and the queue's clock. It imports no torch."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from dataclasses import dataclass, field

from mri2pet.pacs import arrivals, deliveries, jobs
from mri2pet.pacs.archive import Archive
from mri2pet.pacs.counting import ASK_AGAIN_S, Counter
from mri2pet.pacs.database import Database
from mri2pet.pacs.deliveries import Patience
from mri2pet.pacs.delivery import Delivery
from mri2pet.pacs.gate import client_context
from mri2pet.pacs.privacy import Identifiers, log, where
from mri2pet.pacs.reception import Reception, Timeouts
from mri2pet.pacs.settings import NodeSettings
from mri2pet.pacs.spool import Spool, remove

HOUR = 3600.0
POLITE_S = 4.0
"""So long open associations may go on after a stop."""


@dataclass(frozen=True)
class Pace:
    """The patience of everything in here; the times that NODE.json names are not among them."""

    patience: Patience = field(default_factory=Patience)
    timeouts: Timeouts = field(default_factory=Timeouts)
    archive_timeout_s: float = 30
    echo_s: float = 30
    purge_s: float = 10
    count_again_s: float = ASK_AGAIN_S


class Receiver:
    """Reception, delivery and clock over one spool, whose sweep is the caller's."""

    def __init__(
        self,
        settings: NodeSettings,
        spool: Spool,
        database: Database,
        *,
        identifiers: Identifiers | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._settings, self._spool, self._database = settings, spool, database
        self._pace = pace or Pace()
        self.reception = Reception(
            settings, spool, database, identifiers or Identifiers(None), self._pace.timeouts
        )
        self.delivery = Delivery(
            settings,
            spool,
            database,
            self.reception,
            self._pace.patience,
            self._pace.archive_timeout_s,
        )
        self._counter = self._made_counter()
        self._stop = threading.Event()
        self._clocks = [
            threading.Thread(target=self._clock, name="clock", daemon=True),
            threading.Thread(target=self._echo, name="echo", daemon=True),
        ]

    def _made_counter(self) -> Counter | None:
        settings, to = self._settings, self._settings.query
        if to is None:
            return None
        tls = client_context(settings.tls) if to.tls and settings.tls is not None else None
        return Counter(
            Archive(settings.aet, to, tls=tls, timeout_s=self._pace.archive_timeout_s),
            self._database,
            stable_s=settings.stable_s,
            incomplete_s=settings.incomplete_s,
            ask_again_s=self._pace.count_again_s,
        )

    def start(self) -> None:
        """Raises:
        UsageError: it cannot listen there.
        """
        for left in self._spool.temporary.iterdir():
            remove(left)
        arrivals.associations_lost(self._database)
        deliveries.restart(self._database)
        self.reception.start()
        self.delivery.start()
        for clock in self._clocks:
            clock.start()
        log("listening", port=self._settings.port)

    def stop(self) -> None:
        self._stop.set()
        self.delivery.stop()
        self.reception.stop(POLITE_S)
        self.delivery.join(2)
        for clock in self._clocks:
            clock.join(1)
        self._database.count(self.reception.counted())

    def _clock(self) -> None:
        purged = 0.0
        while not self._stop.wait(min(0.5, self._settings.stable_s / 4)):
            try:
                self._tick()
                if time.monotonic() - purged >= self._pace.purge_s:
                    purged = time.monotonic()
                    self._purge()
            except (sqlite3.Error, OSError) as error:  # a full disk
                log("queue", where=where(error))

    def _tick(self) -> None:
        settings = self._settings
        for row in arrivals.settle(
            self._database,
            stable_s=settings.stable_s,
            incomplete_s=settings.incomplete_s,
            whole=None if self._counter is None else self._counter.whole(),
        ):
            log(row["state"], job=row["name"])
            if row["state"] == "refused":
                self._database.count({f"refused:{arrivals.BROKE_OFF}": 1})
        self._database.count(self.reception.counted())

    def _purge(self) -> None:
        settings = self._settings
        count = jobs.purge(
            self._database,
            self._spool,
            quiet_s=settings.stable_s,
            done_s=settings.retain_done_h * HOUR,
            ended_s=settings.retain_failed_d * 24 * HOUR,
        )
        if count:
            log("purged", jobs=count)
        self._database.note("room", float(self.reception.has_room()))

    def _echo(self) -> None:
        while True:
            answers = self.delivery.archive.echo()
            try:
                self._database.note("destination", float(answers))
            except sqlite3.Error as error:
                log("queue", where=where(error))
            if self._stop.wait(self._pace.echo_s):
                return


def run(
    settings: NodeSettings, *, debug_identifiers: bool = False, pace: Pace | None = None
) -> None:
    """The process's work, until SIGTERM.

    Raises:
        UsageError: it cannot listen there.
    """
    spool = Spool(settings.spool)
    spool.open()
    database = Database(spool.database)
    identifiers = Identifiers(spool.identifiers if debug_identifiers else None)
    receiver = Receiver(settings, spool, database, identifiers=identifiers, pace=pace)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    receiver.start()
    signal.sigwait({signal.SIGTERM})
    receiver.stop()
    log("stopped", process="receiver")
