"""The OpenMP runtime, told whether this machine has other work."""

from __future__ import annotations

import os

#: Turns of an empty loop, a few microseconds; libgomp's own default is 300,000.
SPIN_COUNT = 1000
#: Processes that wanted a core in the last minute, on average, below which nobody else works.
QUIET_LOAD = 0.5


def suit_the_load() -> None:
    """On a machine with other work, threads of libgomp soon give up their core while they wait.

    By default a thread of libgomp, torch's OpenMP runtime, that has done its share spins for
    milliseconds until the next one comes. Where another process keeps one of the cores busy, the
    spinning takes the time that the thread being waited for needs; where none does, waking up takes
    longer than spinning, and the default stays. A program calls this once, before torch is
    imported, because libgomp reads its settings when it is loaded; OMP_WAIT_POLICY or
    GOMP_SPINCOUNT in the environment go first.
    """
    if "OMP_WAIT_POLICY" not in os.environ and os.getloadavg()[0] >= QUIET_LOAD:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
