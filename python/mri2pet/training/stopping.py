"""How a run ends before its time: SIGTERM, after which it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mri2pet.errors import Mri2petError


class Stopped(Mri2petError):
    """The run was told to stop (SIGTERM) and can go on."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def termination() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, as a scheduler sends it before it takes the machine away."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
