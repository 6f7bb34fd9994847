"""One network evaluation as one CUDA graph: the host launches a whole step as a single thing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Run = Callable[[], Tensor]
WARM_UP = 3
TOLERANCE = 1e-3


def cuda_capture(run: Run) -> tuple[Callable[[], None], Tensor]:
    """Captures a run on the current device; returns its replay and the tensor it writes.

    Libraries choose their algorithms in the runs before, on the stream of the capture.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()
    return graph.replay, output


class GraphedCall:
    """A function of tensors of fixed shapes, captured once and then replayed.

    The first replay is compared with a plain run: a capture that failed can leave an empty graph
    without an error. Where the two differ, or nothing can be captured, the function runs as it is,
    with a warning.

    Args:
        function: (tensors) → one tensor; the same work at every call.
        examples: tensors of the shapes, dtypes and layouts of the calls.
        capture: as `cuda_capture`.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        examples: tuple[Tensor, ...],
        capture: Callable[[Run], tuple[Callable[[], None], Tensor]] = cuda_capture,
    ) -> None:
        self.function = function
        self.inputs = tuple(example.clone() for example in examples)
        self.replay: Callable[[], None] | None = None
        plain = function(*self.inputs).clone()
        try:
            replay, self.output = capture(lambda: function(*self.inputs))
        except RuntimeError as error:
            warnings.warn(f"no CUDA graph: {error}; sampling goes on without", stacklevel=2)
            return
        self.output.zero_()
        replay()
        difference = float((self.output - plain).norm() / plain.norm())
        if not difference <= TOLERANCE:
            warnings.warn(
                f"the CUDA graph gives another result (relative {difference:.1e}); "
                "sampling goes on without",
                stacklevel=2,
            )
            return
        self.replay = replay

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The result; with a graph it is overwritten by the next call."""
        if self.replay is None:
            return self.function(*tensors)
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given)
        self.replay()
        return self.output
