"""How a function is timed, what it allocates, and what is said about the place where it ran."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mri2pet.bench.cuda_timing import measure_on_cuda
from mri2pet.bench.profiling import quiet_profile
from mri2pet.build import native_build
from mri2pet.errors import UsageError

MINIMUM_REPEATS = 7
SHORTEST_SAMPLE_S = 2e-3


def prepare(device: str, repeats: int, threads: int | None = None) -> None:
    """Makes ready for a benchmark: number of threads set, device and native module there.

    Raises:
        UsageError: the device, the native module or the number of threads cannot be had, or there
            are fewer than MINIMUM_REPEATS repeats.
    """
    import torch

    from mri2pet.ops import backend

    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {device!r} is not there; `mri2pet info` says why")
    if threads is not None:
        if threads < 1:
            raise UsageError(f"{threads} threads: at least 1 is needed")
        torch.set_num_threads(threads)
    if repeats < MINIMUM_REPEATS:
        raise UsageError(f"{repeats} repeats are too few; at least {MINIMUM_REPEATS} are needed")
    backend.native()


def measure(
    function: Callable[[], Any] | Sequence[Callable[[], Any]],
    device: str,
    *,
    repeats: int = MINIMUM_REPEATS,
    warm_up: int = 2,
    graph: bool = False,
) -> dict[str, Any]:
    """Times of `function` in seconds: median, min and max of `repeats` after `warm_up` calls.

    Wall times on the CPU. On CUDA the times of the GPU, see `cuda_timing.measure_on_cuda`: of
    replays with `graph`, and with several functions of a round over all of them. Short functions
    are called several times a sample, so that a sample takes at least 2 ms; the times are those of
    one call. `host_s` is the host's part of a call on CUDA and None on the CPU.
    """
    functions = [function] if callable(function) else list(function)
    if device.startswith("cuda"):
        return measure_on_cuda(functions, device, repeats=repeats, warm_up=warm_up, graph=graph)

    def sample(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            functions[0]()
        return (time.perf_counter() - start) / calls

    once = min(sample(1) for _ in range(max(warm_up, 1)))
    calls = max(1, math.ceil(SHORTEST_SAMPLE_S / max(once, 1e-7)))
    seconds = [sample(calls) for _ in range(repeats)]
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": repeats,
        "timed": "calls",
        "host_s": None,
    }


def extra_bytes(function: Callable[[], Any], device: str) -> int:
    """What torch had allocated at most during a call beyond what was there before it.

    On CUDA by the counters of torch's allocator, on the CPU by torch's profiler, which sees every
    tensor and none of what a library takes for itself.
    """
    import torch
    from torch.profiler import ProfilerActivity

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with quiet_profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        function()
    kineto = trace.profiler.kineto_results if trace.profiler is not None else None
    held = peak = 0
    for event in kineto.events() if kineto is not None else ():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def environment(device: str) -> dict[str, Any]:
    """What a time depends on: device, threads, torch, git revision, and the load before it."""
    import torch

    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else _processor()
    native = native_build()
    return {
        "device": device,
        "device_name": name,
        "driver": _driver() if cuda else None,
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "revision": native["revision"] or native["reason"],
    }


def describe(environment: dict[str, Any]) -> list[str]:
    """`environment` as the first lines of a table."""
    return [
        f"{environment['device']} ({environment['device_name']}), {environment['threads']} threads "
        f"of {environment['cpu_count']}, load {environment['load_average_1min']:.1f}",
        f"torch {environment['torch']}, mri2pet revision {environment['revision']}",
    ]


def milliseconds(value: float | None) -> str:
    """A time of a table's cell; "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where its kernel module does not say."""
    version = Path("/proc/driver/nvidia/version")
    found = re.search(r"\b\d{3}\.\d+[.\d]*", version.read_text()) if version.exists() else None
    return found[0] if found else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
