"""Calls into `calls`, each in a fresh process that `server` forks.

The server is started once; it has imported ANTs, which takes over a second, and nothing else of
this package. Calls may come from several threads at once.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import spawn
from typing import Any

from mri2pet.errors import Mri2petError

TRIES = 2

#: The server has no use for threads, and one that has none can be forked.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[bytes]
    control: socket.socket
    scratch: str


_lock = threading.Lock()
_running: _Server | None = None


def start() -> None:
    """Start the server, so that it is there when it is needed; a second call does nothing."""
    _server()


def call(name: str, arguments: tuple[Any, ...], threads: int) -> Any:
    """What a function of `calls` returns for these arguments, with so many threads of ITK.

    A process that is ended from outside, or its server, is replaced once.

    Raises:
        Exception: what the function raised.
        Mri2petError: the process was ended from outside, twice.
    """
    for _ in range(TRIES):
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            worked, answer = _answered(name, arguments, threads)
            break
    else:
        raise Mri2petError(
            f"ANTs' process ended without an answer ({name}), most often for lack of memory; "
            "run the same command again with more memory or fewer jobs."
        )
    if not worked:
        raise answer
    return answer


def _answered(name: str, arguments: tuple[Any, ...], threads: int) -> tuple[bool, Any]:
    """Whether a call in a new process worked, and its result or what it raised.

    Raises:
        EOFError, OSError, UnpicklingError: the process or the server has ended.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(_server().control, [str(threads).encode()], [theirs.fileno()])
        with ours.makefile("rwb") as stream:
            pickle.dump((name, arguments), stream, protocol=5)
            stream.flush()
            answer: tuple[bool, Any] = pickle.load(stream)
    return answer


def _server() -> _Server:
    global _running
    with _lock:
        if _running is not None and _hung_up(_running.control):
            _end(_running)
            _running = None
        if _running is None:
            _running = _started()
        return _running


def _hung_up(control: socket.socket) -> bool:
    """Whether the other end is closed, which it is before a process counts as ended."""
    asked = select.poll()
    asked.register(control, 0)
    return bool(asked.poll(0))


def _started() -> _Server:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    scratch = tempfile.mkdtemp(prefix="mri2pet-")
    with theirs:
        lines = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from mri2pet.imaging.space.itk.server import serve; "
            f"serve({theirs.fileno()}, {scratch!r})"
        )
        process = subprocess.Popen(
            [os.fsdecode(spawn.get_executable()), "-c", lines],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TMPDIR": scratch},
            start_new_session=True,  # a signal from the keyboard is for the host alone
        )
    return _Server(process, ours, scratch)


def _end(server: _Server) -> None:
    """End a server, what it has forked and what that has written."""
    server.control.close()
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    shutil.rmtree(server.scratch, ignore_errors=True)


@atexit.register
def _stop() -> None:
    global _running
    with _lock:
        server, _running = _running, None
    if server is not None:
        _end(server)


def _forget() -> None:
    """In a fork of the host: the server is the host's."""
    global _lock, _running
    _lock = threading.Lock()
    if _running is not None:
        _running.control.close()
        _running = None


os.register_at_fork(after_in_child=_forget)
