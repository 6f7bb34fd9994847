"""The sampling loop on a GPU as one CUDA graph, replayed for every step.

The graph holds [row of block biases → network → sampling step → counter + 1] and reads the step
from a counter on the device, so that the host launches a step as a single thing and never waits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from mri2pet.errors import ModelError
from mri2pet.ops import sampler_step_at

Evaluate = Callable[..., Tensor]
Capture = Callable[[Callable[[], None], torch.device], Callable[[], None]]
WARM_UP = 3
TOLERANCE = 1e-3
# Captured loops that an engine keeps: their memory is theirs until they go.
MOST_LOOPS = 4


def cuda_capture(run: Callable[[], None], device: torch.device | None = None) -> Callable[[], None]:
    """Captures what `run` does on a device (the current one by default); returns the replay.

    In the runs before, on a stream that is not the default one, cuDNN measures which algorithms are
    fastest. Calls of other threads, such as a loader that pins memory, neither fail
    nor break the capture.
    """
    with torch.cuda.device(device), _measured_convolutions():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The stream is named: torch's own one is of the device that captured first.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
    return graph.replay


@contextmanager
def _measured_convolutions() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass(frozen=True)
class LoopArguments:
    """What one run of a batch takes, on the device.

    Attributes:
        x: float32 [B, 1, K, I, J], the noise that it starts from.
        rows: float32 [S, B, R], the block biases of every step.
        coefficients: float64 [S, 6]; timesteps: int64 [S]; of the sampler's table.
        subjects, samples: int64 [B]; with `seed` the coordinates of the noise.
        inputs: what the network takes beside, the same at all steps.
    """

    x: Tensor
    rows: Tensor
    coefficients: Tensor
    timesteps: Tensor
    subjects: Tensor
    samples: Tensor
    seed: int
    inputs: tuple[Tensor, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        table = (self.rows, self.coefficients, self.timesteps)
        return (self.x, *table, self.subjects, self.samples, *self.inputs)

    def copied(self) -> LoopArguments:
        """The same in memory of its own, contiguous."""
        x, rows, coefficients, timesteps, subjects, samples, *inputs = (
            tensor.clone(memory_format=torch.contiguous_format) for tensor in self.tensors()
        )
        table = (rows, coefficients, timesteps)
        return LoopArguments(x, *table, subjects, samples, self.seed, tuple(inputs))


class GraphedLoop:
    """All steps of a batch as replays of one graph, for runs of the same shapes and seed.

    The first replay is compared with a plain step: a capture that failed can leave an empty graph
    without an error. Where the two differ, or nothing can be captured, `works` is False, with a
    warning.

    Args:
        evaluate: (x_t, bias row, *inputs) → the network's output; the same work at every call.
        example: arguments of a run.
        capture: as `cuda_capture`.
    """

    def __init__(
        self, evaluate: Evaluate, example: LoopArguments, capture: Capture = cuda_capture
    ) -> None:
        self.own = example.copied()
        self.x0 = torch.zeros_like(self.own.x)
        self.row = torch.zeros(1, dtype=torch.int64, device=example.x.device)
        self.works = False
        # Held by the capture alone: an engine keeps this loop, and must not keep itself by it.
        step = partial(self._step, evaluate)
        step()
        plain = self.own.x.clone()
        try:
            self.replay = capture(step, example.x.device)
            self._start(example)
            self.replay()
        except (RuntimeError, ModelError) as error:
            warnings.warn(f"no CUDA graph: {error}; sampling goes on without", stacklevel=2)
            return
        difference = float((self.own.x - plain).norm() / plain.norm())
        if not difference <= TOLERANCE:
            warnings.warn(
                f"the CUDA graph gives another result (relative {difference:.1e}); "
                "sampling goes on without",
                stacklevel=2,
            )
            return
        self.works = True

    def _start(self, arguments: LoopArguments) -> None:
        for own, given in zip(self.own.tensors(), arguments.tensors(), strict=True):
            own.copy_(given)
        self.x0.zero_()
        self.row.zero_()

    def _step(self, evaluate: Evaluate) -> None:
        own = self.own
        biases = own.rows.index_select(0, self.row)[0]
        output = evaluate(own.x, biases, *own.inputs)
        tables = (own.coefficients, own.timesteps, self.row)
        place = {"subjects": own.subjects, "samples": own.samples}
        sampler_step_at(own.x, output, self.x0, *tables, seed=own.seed, **place)
        # The last row is followed by the first one: warming up never leaves the table.
        self.row.add_(1).remainder_(len(own.timesteps))

    def __call__(
        self, arguments: LoopArguments, on_step: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """The volumes [B, 1, K, I, J]; `on_step` as in `run_table`."""
        self._start(arguments)
        steps = len(arguments.timesteps)
        for i in range(steps):
            self.replay()
            if on_step is not None:
                on_step(i + 1, steps)
        return self.own.x.clone()


@dataclass
class Loops:
    """An engine's captured loops, the latest few, by shapes and seed.

    Attributes:
        capture: as `cuda_capture`.
    """

    capture: Capture = cuda_capture
    made: dict[tuple[object, ...], GraphedLoop] = field(default_factory=dict)

    def get(self, evaluate: Evaluate, arguments: LoopArguments) -> GraphedLoop:
        """The loop for a run, captured when it is the first of its kind; `evaluate` as
        `GraphedLoop` takes it, the same at every call."""
        key = (arguments.seed, *(tuple(tensor.shape) for tensor in arguments.tensors()))
        if key not in self.made:
            while len(self.made) >= MOST_LOOPS:
                del self.made[next(iter(self.made))]
            self.made[key] = GraphedLoop(evaluate, arguments, self.capture)
        return self.made[key]
