"""How a function is timed, and what is said about the place where it ran."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mri2pet.build import native_build
from mri2pet.errors import UsageError

MINIMUM_REPEATS = 7


def measure(
    function: Callable[[], Any], device: str, *, repeats: int = MINIMUM_REPEATS, warm_up: int = 2
) -> dict[str, Any]:
    """Wall times of `function` in seconds: median, min and max of `repeats` after `warm_up` calls.

    On CUDA every call is waited for. `peak_memory_bytes` is what the process held at most while it
    ran (on CUDA: what torch had allocated on the device); None where the system does not tell.

    Raises:
        UsageError: fewer than MINIMUM_REPEATS repeats.
    """
    if repeats < MINIMUM_REPEATS:
        raise UsageError(f"{repeats} repeats are too few; at least {MINIMUM_REPEATS} are needed")
    wait = _waiter(device)
    for _ in range(warm_up):
        function()
    wait()
    _reset_peak_memory(device)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        wait()
        seconds.append(time.perf_counter() - start)
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": repeats,
        "peak_memory_bytes": _peak_memory(device),
    }


def environment(device: str) -> dict[str, Any]:
    """What a time depends on: device, threads, torch, git revision, and the load before it."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    native = native_build()
    return {
        "device": device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "revision": native["revision"] or native["reason"],
    }


def _waiter(device: str) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def _reset_peak_memory(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif (clear := Path("/proc/self/clear_refs")).exists():
        clear.write_text("5")


def _peak_memory(device: str) -> int | None:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return _kib_field("/proc/self/status", "VmHWM")


def _kib_field(path: str, field: str) -> int | None:
    if not Path(path).exists():
        return None
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
