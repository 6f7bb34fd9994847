"""Times on a GPU: of replays, over inputs larger than the cache, with the host's part beside."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from mri2pet.bench.cuda_timing import CACHES, MOST_COPIES, measure_on_cuda, rotated
from mri2pet.bench.ops import bench_ops
from mri2pet.bench.step import bench_step

STEP_S = 1e-3  # what every call takes the stand-in


class StandIn:
    """A GPU that takes 1 ms for each call that reaches it, plainly or in a replay."""

    def __init__(self, capturing: bool = True) -> None:
        self.clock, self.mode, self.capturing = 0.0, None, capturing
        self.recorded: list[int] | None = None
        self.replays = 0

    def call(self) -> torch.Tensor:
        if self.recorded is None:
            self.clock += STEP_S
        else:
            self.recorded.append(1)
        return torch.zeros(1)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.time = gpu.clock

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, other: Event) -> float:
                return 1e3 * (other.time - self.time)

        class Graph:
            def __init__(self) -> None:
                self.calls = 0

            def replay(self) -> None:
                gpu.replays += 1
                gpu.clock += STEP_S * self.calls

        @contextmanager
        def capture(graph, capture_error_mode="global"):
            gpu.mode = capture_error_mode
            if not gpu.capturing:
                raise RuntimeError("operation not permitted when stream is capturing")
            gpu.recorded = []
            yield
            graph.calls, gpu.recorded = len(gpu.recorded), None

        stream = SimpleNamespace(wait_stream=lambda other: None)
        parts = {
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": capture,
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": lambda s: nullcontext(),
            "device": lambda d: nullcontext(),
            "synchronize": lambda *a: None,
        }
        for name, part in parts.items():
            monkeypatch.setattr(torch.cuda, name, part)


def test_a_call_is_timed_by_replays_of_its_graph(monkeypatch):
    gpu = StandIn()
    gpu.install(monkeypatch)
    calls = [gpu.call] * 5
    times = measure_on_cuda(calls, "cuda", repeats=7, warm_up=2, graph=True)
    assert times["timed"] == "graph"
    assert times["median_s"] == pytest.approx(STEP_S)
    assert times["min_s"] <= times["median_s"] <= times["max_s"]
    assert times["repeats"] == 7
    assert gpu.replays >= 7
    assert gpu.mode == "thread_local"  # another thread may allocate meanwhile
    assert 0 < times["host_s"] < STEP_S


def test_what_cannot_be_captured_is_timed_as_it_is(monkeypatch):
    gpu = StandIn(capturing=False)
    gpu.install(monkeypatch)
    with pytest.warns(UserWarning, match="without a CUDA graph"):
        times = measure_on_cuda([gpu.call] * 3, "cuda", repeats=7, warm_up=1, graph=True)
    assert times["timed"] == "calls"
    assert times["median_s"] == pytest.approx(STEP_S)
    asked = measure_on_cuda([gpu.call], "cuda", repeats=7, warm_up=0, graph=False)
    assert asked["timed"] == "calls"
    assert asked["median_s"] == pytest.approx(STEP_S)


def test_rotated_inputs_are_larger_than_the_cache(monkeypatch):
    cache = 2**20
    properties = SimpleNamespace(L2_cache_size=cache)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    x, weight = torch.arange(2**16).float(), torch.ones(3)
    sets = rotated((x, weight), "cuda")
    size = (x.numel() + weight.numel()) * 4
    assert len(sets) * size >= CACHES * cache > (len(sets) - 1) * size
    assert len({id(tensors[0]) for tensors in sets}) == len(sets)
    assert all(torch.equal(tensors[0], x) and torch.equal(tensors[1], weight) for tensors in sets)
    assert len(rotated((weight,), "cuda")) == MOST_COPIES
    assert len(rotated((torch.zeros(2**20),), "cuda")) == 1
    assert rotated((x, weight), "cpu") == [(x, weight)]


@pytest.mark.gpu
def test_ops_are_timed_on_the_gpu():
    result = bench_ops(device="cuda", dtypes=["float32", "float16"], scale=4)
    for row in result["rows"]:
        assert row["timed"] == "graph", row["op"]
        assert 0 < row["native_host_ms"] < 1e3
    rate = result["copy_bytes_per_s"]
    assert rate > 1e11


@pytest.mark.gpu
def test_gradients_of_a_step_are_timed_as_one_graph():
    result = bench_step(["compact"], device="cuda", dtypes=["bfloat16"])
    rows = {row["op"]: row for row in result["rows"]}
    assert rows["training_step"]["timed"] == "calls"
    assert rows["gradients"]["timed"] == "graph"
    assert 0 < rows["gradients"]["native_ms"] < rows["training_step"]["native_ms"]
