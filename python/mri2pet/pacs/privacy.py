"""What may leave the node beside images: no name, no id, no date of birth, no UID, no free text.

A line of the log is one JSON object of an event and values from closed sets (numbers, job names,
words of the program). A job's name is 8 hex digits of an HMAC of its Series Instance UID under a
key that never leaves the spool.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

LIBRARIES = ("pynetdicom", "pydicom", "highdicom")
SPEAKING = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UI", "DA", "DT", "TM", "AE", "AS", "UR"}
_lock = threading.Lock()
_stream: TextIO | None = None


def job_name(key: bytes, series: str) -> str:
    """8 hex digits that stand for a series."""
    return hmac.new(key, series.encode(), hashlib.sha256).hexdigest()[:8]


def log(event: str, **values: float | str | None) -> None:
    """One line on stdout. `values` hold nothing that a header or a stranger wrote."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
    with _lock, contextlib.suppress(OSError):  # whoever read it is gone
        print(json.dumps(line), file=_stream or sys.stdout, flush=True)


def where(error: BaseException) -> str:
    """The error's type and its line in the program; its message may quote a header."""
    trace, last = error.__traceback__, None
    while trace is not None:
        last, trace = trace, trace.tb_next
    if last is None:
        return type(error).__name__
    return (
        f"{type(error).__name__} at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}"
    )


def redact(text: str, headers: Iterable[Any], folders: Iterable[Path] = ()) -> str:
    """A sentence without the paths of folders and without any text of the headers
    (pydicom data sets): names, ids, dates, UIDs, descriptions."""
    spoken: set[str] = set()
    for header in headers:
        for element in header.iterall():
            if element.VR in SPEAKING and element.value is not None:
                values = element.value if element.VM > 1 else [element.value]
                spoken.update(str(value) for value in values)
    pieces = {piece for value in spoken for piece in [value, *value.split("^")]}
    for folder in folders:
        text = text.replace(str(folder), "the series")
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece.strip()) >= 3:
            text = text.replace(piece, "…")
    return text


class _WithoutMessage(logging.Handler):
    """Of a library's record only where it comes from: its text may quote a header."""

    def emit(self, record: logging.LogRecord) -> None:
        log("library", level=record.levelname, where=f"{record.module}:{record.lineno}")


def harden(process: str) -> None:
    """Settles a process of the node: files for its user alone, no core dumps, no messages of
    libraries, no tracebacks with values. What anything but `log` prints goes nowhere."""
    global _stream
    os.umask(0o077)
    _stream = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    os.close(nowhere)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [_WithoutMessage(logging.ERROR)]
        logger.setLevel(logging.ERROR)
        logger.propagate = False

    def died(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log("died", process=process, where=where(error))

    sys.excepthook = died

    def thread_died(given: threading.ExceptHookArgs) -> None:
        if given.exc_value is not None:
            log("died", process=process, where=where(given.exc_value))

    threading.excepthook = thread_died


class Identifiers:
    """UIDs beside job names, for somebody who looks for one series; off unless asked for."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        if file is not None:
            file.touch(mode=0o600)
            file.chmod(0o600)
            log("identifiers", note="UIDs are written to identifiers.log in the spool")

    def note(self, event: str, **uids: str) -> None:
        if self._file is None:
            return
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **uids}
        with _lock, self._file.open("a") as out:
            out.write(json.dumps(line) + "\n")
