"""Libraries whose remarks mean nothing to the user of a command."""

from __future__ import annotations

import logging

#: nibabel tells each header field that it mends, without the file's name, and each fault that it
#: raises as well; matplotlib tells where its cache went when there is no home directory.
TALKATIVE = ("nibabel.global", "matplotlib")


def quiet_libraries() -> None:
    """What they log stays off stderr; their errors are raised as before.

    Readers refuse or mention themselves what matters in a header. A program calls this once, and
    so does every process that it starts; a library leaves its host's logging alone.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
