"""A process that has imported ANTs and forks itself for every call.

It ends, and what it has forked with it, when the other end of its control socket is closed: when
the host ends in any way.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
from contextlib import suppress

from mri2pet.errors import portable

THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def serve(control: int, scratch: str) -> None:
    """Answer on every socket that comes over the control socket, until that is closed.

    Args:
        control: file descriptor of the socket.
        scratch: the folder for temporary files, removed at the end.
    """
    with suppress(ImportError):  # the call tells it
        from mri2pet.imaging.space.itk import calls  # noqa: F401
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are done
    with socket.socket(fileno=control) as asked:
        while True:
            message, sockets, _, _ = socket.recv_fds(asked, 16, 1)
            if not sockets:
                break
            if os.fork() == 0:
                asked.close()
                try:
                    _answer(sockets[0], message.decode())
                finally:
                    os._exit(0)
            os.close(sockets[0])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)  # what it has forked
    shutil.rmtree(scratch, ignore_errors=True)


def _answer(connection: int, threads: str) -> None:
    """Read a call, do it and write what it gave."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ[THREADS] = threads  # ITK has not looked yet
    with socket.socket(fileno=connection) as ours, ours.makefile("rwb") as stream:
        name, arguments = pickle.load(stream)
        try:
            from mri2pet.imaging.space.itk import calls

            answer = (True, getattr(calls, name)(*arguments))
        except Exception as error:
            answer = (False, portable(error))
        with suppress(OSError):  # the host no longer listens
            pickle.dump(answer, stream, protocol=5)
            stream.flush()
