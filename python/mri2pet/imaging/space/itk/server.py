"""A process that has loaded ANTs and forks itself for every call.

It ends, and what it has forked with it, when the other end of its control socket is closed: when
the host ends in any way.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import traceback
from contextlib import suppress

from mri2pet.errors import portable
from mri2pet.quiet import quiet_libraries

THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def serve(control: int, scratch: str) -> None:
    """Answer on every socket that comes over the control socket, until that is closed.

    Args:
        control: file descriptor of the socket.
        scratch: the folder for temporary files, removed at the end.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    # The host decides when this ends, also where all processes of a unit are ended with it.
    # Blocked, not ignored: what a process is sent before it has begun its call, counts.
    signal.pthread_sigmask(signal.SIG_SETMASK, ENDING)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are done
    quiet_libraries()
    with suppress(Exception):  # every call will tell it
        from mri2pet.imaging.space.itk import calls  # noqa: F401
    with socket.socket(fileno=control) as asked:
        while True:
            message, sockets, _, _ = socket.recv_fds(asked, 16, 1)
            if not sockets:
                break
            with suppress(OSError):  # no more processes, or no memory: the host sees no answer
                if os.fork() == 0:
                    asked.close()
                    try:
                        _answer(sockets[0], message.decode(), scratch)
                    finally:
                        os._exit(0)
            os.close(sockets[0])
    os.killpg(0, signal.SIGTERM)  # what it has forked
    with suppress(ChildProcessError):
        os.wait()  # for all of them, as SIGCHLD is ignored
    shutil.rmtree(scratch, ignore_errors=True)


def _answer(connection: int, threads: str, scratch: str) -> None:
    """Read a call, do it and write what it gave."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ[THREADS] = threads  # ITK has not looked yet
    os.makedirs(scratch, 0o700, exist_ok=True)  # a folder of long ago may have been cleared away
    with socket.socket(fileno=connection) as ours, ours.makefile("rwb") as stream:
        name, arguments = pickle.load(stream)
        try:
            from mri2pet.imaging.space.itk import calls

            answer = getattr(calls, name)(*arguments), ""
        except Exception as error:
            answer = portable(error), traceback.format_exc()
        with suppress(OSError):  # the host no longer listens
            pickle.dump(answer, stream, protocol=5)
            stream.flush()
