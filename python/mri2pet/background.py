"""Work on a thread that a program which ends does not wait for.

A native loop of this package must not run directly on such a thread, but on an executor's, which is
waited for: ended in its middle it aborts the program.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def begin(work: Callable[[], Result], name: str) -> Future[Result]:
    """Starts it on a thread of this name; the future holds what it returns or raises.

    The thread is a daemon: a command that ends early, for a wrong option, does not wait for it.
    """
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
