"""torch's profiler without the lines that it writes to stderr by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.profiler import profile


def quiet_profile(**options: Any) -> profile:
    """`torch.profiler.profile` of one run.

    Its library announces every start and stop above the level of its errors (torch 2.13), and reads
    the level when the first profile of a process begins. That events of an earlier cycle would be
    cleared, as torch 2.11 warns, matters to nobody with one cycle.
    """
    from torch.profiler import profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    return profile(acc_events=True, **options)
