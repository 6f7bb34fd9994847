"""`python -m mri2pet.pacs.process receiver|worker NODE.json`: the node's two processes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mri2pet.errors import Mri2petError
from mri2pet.pacs.privacy import harden, log
from mri2pet.pacs.receiver import Pace
from mri2pet.pacs.settings import read_settings
from mri2pet.pacs.worker import Load, load_synthesis

MISUSED = 2
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
PARENT = "MRI2PET_NODE"
"""Environment variable: the parent's process id."""
DEBUG = "--debug-identifiers"


def main(arguments: Sequence[str], *, load: Load = load_synthesis, pace: Pace | None = None) -> int:
    """Runs one of the two until SIGTERM; 2 when it can never work as it is set up."""
    which, file, *options = arguments
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
    if os.environ.get(PARENT) != str(os.getppid()):
        return 0  # the parent was gone before that
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    harden(which)
    try:
        settings = read_settings(Path(file))
        if which == "receiver":
            from mri2pet.pacs import receiver

            receiver.run(settings, debug_identifiers=DEBUG in options, pace=pace)
        else:
            from mri2pet.pacs import worker

            worker.run(settings, load)
    except Mri2petError as error:
        log("error", process=which, message=str(error))
        return MISUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
