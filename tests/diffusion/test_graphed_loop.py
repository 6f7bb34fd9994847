"""A captured loop gives what the plain one gives, for every subject, or is not used."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from mri2pet.diffusion.graphed_loop import MOST_LOOPS, Loops, cuda_capture
from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.engines.base import Conditioned
from mri2pet.errors import ModelError

SHAPE = (2, 3, 4)


def evaluate(x, row, grid):
    return torch.tanh(x) * row[:, :1, None, None, None] + grid


def replaying(run, device):
    """A capture as CUDA makes it: it warms up, and the work is done at each replay alone."""
    for _ in range(3):
        run()
    return run


def subject(number, loops=None, steps=5):
    generator = torch.Generator().manual_seed(number)
    rows = torch.randn(steps, 360, generator=generator)
    inputs = (torch.randn(1, 1, *SHAPE, generator=generator),)
    return Conditioned(rows, evaluate, inputs, loops)


def run(conditioned, sampler="ddpm", count=2, seed=3, on_step=None, steps=5):
    table = make_table(sampler, "v", steps)
    numbers = torch.arange(count)
    place = {"seed": seed, "subjects": numbers + 7, "samples": numbers}
    rows = conditioned.bias_rows[:, None].expand(-1, count, -1)
    graph = {"loops": conditioned.loops, "inputs": conditioned.inputs}
    return run_table(conditioned.evaluate, table, rows, SHAPE, **place, **graph, on_step=on_step)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
def test_same_volumes_as_the_plain_loop_for_every_subject(sampler):
    loops = Loops(replaying)
    for number in range(3):
        told = []
        got = run(
            subject(number, loops), sampler, on_step=lambda *step, told=told: told.append(step)
        )
        torch.testing.assert_close(got, run(subject(number), sampler))
        assert told == [(i + 1, 5) for i in range(5)]
    (loop,) = loops.made.values()
    assert loop.works


def test_one_step_is_a_loop_too():
    got = run(subject(0, Loops(replaying), steps=1), steps=1)
    torch.testing.assert_close(got, run(subject(0, steps=1), steps=1))


def test_a_loop_is_captured_for_each_shape_and_seed_and_the_oldest_goes():
    loops = Loops(replaying)
    seeds = range(MOST_LOOPS + 1)
    for seed in seeds:
        got = run(subject(0, loops), seed=seed)
        torch.testing.assert_close(got, run(subject(0), seed=seed))
    run(subject(0, loops), count=1, seed=seeds[-1])
    assert len(loops.made) == MOST_LOOPS
    assert seeds[0] not in {key[0] for key in loops.made}


def empty_graph(run, device):
    return lambda: None


def no_capture(run, device):
    raise RuntimeError("operation not permitted when stream is capturing")


def failing_call(run, device):
    raise ModelError("TensorRT: execute_async_v3 failed")


@pytest.mark.parametrize(
    ("capture", "told"),
    [
        (empty_graph, "another result"),
        (no_capture, "not permitted"),
        (failing_call, "execute_async_v3 failed"),
    ],
)
def test_a_capture_that_failed_is_not_used(capture, told):
    loops = Loops(capture)
    with pytest.warns(UserWarning, match=told):
        got = run(subject(1, loops))
    torch.testing.assert_close(got, run(subject(1)))
    assert torch.equal(run(subject(2, loops)), run(subject(2)))  # no second warning


def test_other_threads_may_use_cuda_during_a_capture(monkeypatch):
    """A loader's thread that pins memory would end a capture in torch's default mode."""
    modes, streams = [], []

    class Graph:
        def replay(self):
            modes.append("replayed")

    @contextmanager
    def graph(captured, stream=None, capture_error_mode="global"):
        modes.append(capture_error_mode)
        streams.append(stream)
        yield

    @contextmanager
    def context(what):
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    replaced = {
        "graph": graph,
        "CUDAGraph": Graph,
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": context,
        "device": context,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    cuda_capture(lambda: None)()
    assert modes == ["thread_local", "replayed"]
    assert streams == [stream]  # without, torch captures on the device of its first capture


def test_the_capture_is_made_on_the_device_of_the_volumes():
    devices = []

    def capture(run, device):
        devices.append(device)
        return replaying(run, device)

    run(subject(0, Loops(capture)))
    assert devices == [torch.device("cpu")]
