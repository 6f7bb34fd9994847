"""Times on a GPU: replays of a captured graph by events, and what a call costs the host beside."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST_SAMPLE_S = 2e-3
HOST_CALLS, HOST_S = 10, 0.5  # at most so many, and none more after half a second
CACHES = 3  # how many times the L2 cache the rotated inputs fill
MOST_COPIES = 16  # the smallest tensors stay in the cache, as they do in the network
OTHER_L2_BYTES = 50 * 2**20  # where torch does not say how large the cache is


def rotated(inputs: Sequence[Tensor], device: str) -> list[tuple[Tensor, ...]]:
    """The inputs and copies of them, together larger than the GPU's cache; on the CPU they alone.

    A kernel that meets its inputs in the cache looks faster than the memory allows.
    """
    import torch

    given = tuple(inputs)
    if torch.device(device).type != "cuda":
        return [given]
    properties = torch.cuda.get_device_properties(device)
    cache = getattr(properties, "L2_cache_size", 0) or OTHER_L2_BYTES
    size = sum(t.numel() * t.element_size() for t in given)
    copies = min(max(ceil(CACHES * cache / max(size, 1)), 1), MOST_COPIES)
    return [given, *(tuple(t.clone() for t in given) for _ in range(copies - 1))]


def measure_on_cuda(
    calls: Sequence[Callable[[], Any]], device: str, *, repeats: int, warm_up: int, graph: bool
) -> dict[str, Any]:
    """Seconds of one call: median, min and max of `repeats` samples, by events on the stream.

    Args:
        calls: run one after another; the times are those of one of them.
        warm_up: rounds before anything is timed.
        graph: capture the round into a CUDA graph and time its replays, so that the host's cost of
            a launch is not in the time. A round that cannot be captured is timed as it is.

    Returns:
        median_s, min_s, max_s, repeats; `timed`: "graph" or "calls"; `host_s`: what a call takes
        the host until it has launched everything, or waited by itself.
    """
    import torch

    with torch.cuda.device(device):
        for _ in range(warm_up):
            for call in calls:
                call()
        torch.cuda.synchronize()
        host = _host_seconds(calls)
        replay = _captured(calls) if graph else None
        run = replay or (lambda: [call() for call in calls])
        once = _seconds(run, 1)
        rounds = max(1, ceil(SHORTEST_SAMPLE_S / max(once, 1e-7)))
        seconds = [once] if rounds == 1 else []
        seconds += [_seconds(run, rounds) / rounds for _ in range(repeats - len(seconds))]
        seconds = [value / len(calls) for value in seconds]
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": repeats,
        "timed": "graph" if replay else "calls",
        "host_s": host,
    }


def _seconds(run: Callable[[], Any], rounds: int) -> float:
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(rounds):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _host_seconds(calls: Sequence[Callable[[], Any]]) -> float:
    """Median over single calls, each begun on an idle GPU: no full queue holds the host up."""
    import torch

    seconds: list[float] = []
    while len(seconds) < HOST_CALLS and sum(seconds) < HOST_S:
        start = time.perf_counter()
        calls[len(seconds) % len(calls)]()
        seconds.append(time.perf_counter() - start)
        torch.cuda.synchronize()
    return statistics.median(seconds)


def _captured(calls: Sequence[Callable[[], Any]]) -> Callable[[], None] | None:
    """The replay of one round, every result in memory of its own; None if it cannot be captured."""
    import torch

    kept: list[Any] = []
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            calls[0]()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    gc.collect()  # a backward pass that is still referred to would bind the graph to its stream
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for call in calls:
                kept.append(call())
    except RuntimeError as error:
        warnings.warn(f"timed without a CUDA graph: {error}", stacklevel=2)
        torch.cuda.synchronize()
        return None
    graph.replay()
    torch.cuda.synchronize()

    def replay(kept: list[Any] = kept) -> None:
        graph.replay()

    return replay
