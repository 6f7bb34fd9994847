"""The OpenMP runtime, told that this machine may have other work."""

from __future__ import annotations

import os

#: Turns of an empty loop, a few microseconds; libgomp's own default is 300,000.
SPIN_COUNT = 1000


def wait_briefly() -> None:
    """Threads of libgomp, torch's OpenMP runtime, soon give up their core while they wait.

    By default a thread that has done its share spins for milliseconds until the next one comes.
    Where another process keeps one of the cores busy, the spinning takes the time that the
    thread being waited for needs. A program calls this once, before torch is imported, because
    libgomp reads its settings when it is loaded; OMP_WAIT_POLICY or GOMP_SPINCOUNT in the
    environment go first.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
