"""Which part of a run each op takes, forward and backward together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

NODE = "autograd::engine::evaluate_function"
PARTS = (
    "linear_attention",
    "group_norm_gelu",
    "laplacian_pyramid_loss",
    "convolution",
    "optimizer",
)


def shares(run: Callable[[], Any], network: nn.Module, device: str) -> dict[str, float]:
    """The share of each part in the time of one profiled run; the rest is "other".

    The calls of the blocks are marked by hooks. A node of the backward pass belongs to the part
    that made it: both carry the same sequence number. Time is wall time on the CPU and the time of
    the kernels on CUDA.

    Args:
        run: the run; it may mark parts of its own by `torch.profiler.record_function`.
        network: its blocks `Attention`, `Norm` and `Conv3d` are marked.
    """
    from torch.profiler import ProfilerActivity

    from mri2pet.bench.profiling import quiet_profile

    activities = [ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    with _marked(network), quiet_profile(activities=activities) as trace:
        run()
    events = trace.events()
    assert events is not None
    return _sum_up([e for e in events if e.device_type.name == "CPU"], device)


@contextmanager
def _marked(network: nn.Module) -> Iterator[None]:
    """Each call of a block runs within a `record_function` of its part."""
    import torch
    from torch.profiler import record_function

    from mri2pet.nn.blocks import Attention, Norm
    from mri2pet.nn.convolution import Conv3d

    kinds: dict[type, str] = {
        Attention: "linear_attention",
        Norm: "group_norm_gelu",
        Conv3d: "convolution",
        torch.nn.Conv3d: "convolution",
    }
    open_ranges: list[Any] = []

    def begin(module: nn.Module, *_: Any) -> None:
        mark = record_function(kinds[type(module)])
        mark.__enter__()
        open_ranges.append(mark)

    def end(*_: Any) -> None:
        open_ranges.pop().__exit__(None, None, None)

    handles = []
    for module in network.modules():
        if type(module) in kinds:
            handles.append(module.register_forward_pre_hook(begin))
            handles.append(module.register_forward_hook(end))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _lineage(event: Any) -> Iterator[Any]:
    while event is not None:
        yield event
        event = event.cpu_parent


def _part(event: Any) -> str:
    return next((e.name for e in _lineage(event) if e.name in PARTS), "other")


def _sum_up(events: list[Any], device: str) -> dict[str, float]:
    def cost(event: Any) -> float:
        if device.startswith("cuda"):
            return float(event.device_time_total)
        return float(event.time_range.elapsed_us())

    makers: dict[int, Any] = {}  # of a sequence number: the last op that had it made the node
    for event in events:
        backward = any(e.name.startswith(NODE) for e in _lineage(event))
        if event.sequence_nr < 0 or backward:
            continue
        other = makers.get(event.sequence_nr)
        if other is None or event.time_range.start >= other.time_range.start:
            makers[event.sequence_nr] = event
    times = dict.fromkeys((*PARTS, "other"), 0.0)
    for event in (e for e in events if e.cpu_parent is None):
        maker = makers.get(event.sequence_nr) if event.name.startswith(NODE) else event
        times["other" if maker is None else _part(maker)] += cost(event)
    if not device.startswith("cuda"):
        times["other"] += _span(events) - sum(times.values())
    total = sum(times.values())
    return {part: time / total for part, time in times.items()}


def _span(events: Iterable[Any]) -> float:
    ranges = [e.time_range for e in events]
    return float(max(r.end for r in ranges) - min(r.start for r in ranges))
