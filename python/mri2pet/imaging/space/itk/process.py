"""Calls into `calls`, each in a fresh process that `server` forks.

The server is started once, as it takes ANTs more than a second to load. Calls may come from several
threads at once.
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
from multiprocessing.util import Finalize
from typing import Any

from mri2pet.errors import Mri2petError, ProcessLost

TRIES = 2

#: The server has no use for threads, and one that has none can be forked.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Settings of ITK's and ANTs' own, which would change its results.
_NOT_HANDED_ON = ("ITK_", "ANTS_")


class RemoteTraceback(Exception):
    """Where in the other process an error was raised, in words."""


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[bytes]
    control: socket.socket
    scratch: str


_lock = threading.Lock()
_running: _Server | None = None
_former: list[_Server] = []  # ended from outside; what they have forked may go on


def start() -> None:
    """Start the server, so that it is there when it is needed; a second call does nothing.

    Raises:
        Mri2petError: it cannot be started.
    """
    _server()


def call(name: str, arguments: tuple[Any, ...], threads: int) -> Any:
    """What a function of `calls` returns for these arguments, with so many threads of ITK.

    A call whose process or server is ended from outside is tried once more.

    Raises:
        Exception: what the function raised.
        ProcessLost: both tries were ended from outside.
        Mri2petError: no process can be started.
    """
    for _ in range(TRIES):
        server = _server()
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            answer, where = _answered(server, name, arguments, threads)
            break
    else:
        raise ProcessLost(
            f"ANTs' process ended without an answer ({name}), twice, most often for lack of "
            "memory; run the same command again with more memory or fewer jobs."
        )
    if where:
        raise answer from RemoteTraceback(where)
    return answer


def _answered(
    server: _Server, name: str, arguments: tuple[Any, ...], threads: int
) -> tuple[Any, str]:
    """What a call in a new process returned, and ""; or what it raised, and where.

    Raises:
        EOFError, OSError, UnpicklingError: the process or the server has ended.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(server.control, [str(threads).encode()], [theirs.fileno()])
        with ours.makefile("rwb") as stream:
            pickle.dump((name, arguments), stream, protocol=5)
            stream.flush()
            answer: tuple[Any, str] = pickle.load(stream)
    return answer


def _server() -> _Server:
    global _running
    with _lock:
        if _running is not None and _hung_up(_running.control):
            _running.control.close()
            _running.process.wait()
            _former.append(_running)
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
    python, scratch = spawn.get_executable() or "", None
    try:
        scratch = tempfile.mkdtemp(prefix="mri2pet-")
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [os.fsdecode(python), "-c", _program(theirs.fileno(), scratch)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(scratch),
                start_new_session=True,  # a signal from the keyboard is for the host alone
            )
    except OSError as error:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        raise Mri2petError(
            f"ANTs' process could not be started ({error}): it needs the Python "
            f"{os.fsdecode(python) or '(none)'} and a temporary folder that can be written to."
        ) from error
    return _Server(process, ours, scratch)


def _program(control: int, scratch: str) -> str:
    path = [part for part in sys.path if isinstance(part, str)]
    return (
        f"import sys; sys.path[:] = {path!r}; "
        "from mri2pet.imaging.space.itk.server import serve; "
        f"serve({control}, {scratch!r})"
    )


def _environment(scratch: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_HANDED_ON)}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), "TMPDIR": scratch}


def stop() -> None:
    """End the server, what it has forked and what that has written; the next call starts anew."""
    global _running
    with _lock:
        ended = [*_former, *([_running] if _running is not None else [])]
        _former.clear()
        _running = None
    for server in ended:
        server.control.close()
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        shutil.rmtree(server.scratch, ignore_errors=True)


def _forget() -> None:
    """In a fork of the host: the server is the host's."""
    global _lock, _running
    _lock = threading.Lock()
    _former.clear()
    if _running is not None:
        _running.control.close()
        _running = None


atexit.register(stop)
Finalize(None, stop, exitpriority=0)  # a process of multiprocessing's knows no atexit
os.register_at_fork(after_in_child=_forget)
