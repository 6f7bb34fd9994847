"""The parent: starts receiver and worker, starts them again, and stops them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mri2pet.errors import Mri2petError
from mri2pet.pacs import jobs
from mri2pet.pacs.database import Database
from mri2pet.pacs.health import Health
from mri2pet.pacs.privacy import log
from mri2pet.pacs.process import DEBUG, MISUSED, PARENT
from mri2pet.pacs.settings import read_settings
from mri2pet.pacs.spool import Spool

PROCESSES = ("receiver", "worker")
STOP_S = 8.0
"""So long a process may take to end by itself."""
LONGEST_PAUSE_S = 5.0
SIGNALS = {signal.SIGTERM, signal.SIGINT}


class NodeError(Mri2petError):
    """The node cannot work as it is set up."""


class _Child:
    """One process, started again whenever it ends, after pauses that grow while it dies young."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self._command = name, [*command]
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths, self._began, self._due = 0, 0.0, 0.0

    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        environment = {**os.environ, PARENT: str(os.getpid())}
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, env=environment)
        self._began = time.monotonic()

    def watch(self) -> int | None:
        """The exit code once when it ended; starts it again when that is due."""
        if self._process is None:
            if time.monotonic() >= self._due:
                self.start()
            return None
        code = self._process.poll()
        if code is not None:
            young = time.monotonic() - self._began < LONGEST_PAUSE_S
            self._deaths = self._deaths + 1 if young else 1
            self._due = time.monotonic() + min(LONGEST_PAUSE_S, 0.05 * 2.0**self._deaths)
            self._process = None
        return code

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> None:
        if self._process is not None:
            try:
                self._process.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run_node(
    file: Path, *, debug_identifiers: bool = False, program: Sequence[str] | None = None
) -> None:
    """Runs a node until SIGTERM or Ctrl-C, then ends it within 10 s.

    `program` is the command line before `receiver` or `worker`, the file and options.

    Raises:
        UsageError: NODE.json, the spool or a port cannot be used.
        NodeError: a process said that it can never work.
    """
    settings = read_settings(file)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    spool = Spool(settings.spool)
    spool.open()
    program = program or [sys.executable, "-m", "mri2pet.pacs.process"]
    options = [DEBUG] if debug_identifiers else []
    children = [_Child(p, [*program, p, str(file), *options]) for p in PROCESSES]
    with spool.held():
        database = Database(spool.database)
        _tidy(spool, database)
        health = Health(settings, spool, database, lambda: {c.name: c.pid() for c in children})
        server = health.serve()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            _watch(children, database)
        finally:
            _stop(children, database)
            server.shutdown()
            server.server_close()
            database.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _tidy(spool: Spool, database: Database) -> None:
    """What the last node left when it was killed."""
    jobs.give_back(database, died=True)
    files = {row["file"] for row in database.rows("SELECT file FROM instance")}
    names = {row["name"] for row in database.rows("SELECT name FROM job")}
    log("started", swept=spool.sweep(files, names))


def _watch(children: list[_Child], database: Database) -> None:
    for child in children:
        child.start()
    while signal.sigtimedwait(SIGNALS, 0.1) is None:
        for child in children:
            code = child.watch()
            if code is None:
                continue
            log("ended", process=child.name, code=code)
            if code == MISUSED:
                raise NodeError(f"the {child.name} cannot work; its last line in the log says why")
            if child.name == "worker":
                for row in jobs.give_back(database, died=True):
                    log(row["state"], job=row["name"], code="worker_died")


def _stop(children: list[_Child], database: Database) -> None:
    for child in children:
        child.signal(signal.SIGTERM)
    end = time.monotonic() + STOP_S
    for child in children:
        child.wait(end - time.monotonic())
    jobs.give_back(database, died=False)
    log("stopped", process="node")
