"""Forward and backward pass of a micro-batch as one CUDA graph.

The host needs longer to launch a step of a small network than a GPU to compute it. The graph reads
the batch from tensors that stay where they are and adds to gradients that stay where they are;
clipping, Adam and the moving average follow as ordinary launches while the GPU is still at work.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from mri2pet.diffusion.graphed_loop import Capture, cuda_capture
from mri2pet.training.batches import Batch

#: (batch on the device, its weight) → the loss's terms [3]; adds the gradients. The same work at
#: every call, without a wait.
Work = Callable[[Batch, float], Tensor]

#: Plain micro-batches before the capture; what is made lazily exists after them.
PLAIN = 3
#: Relative. Bfloat16 gradients are summed in an order that changes from run to run; a graph that
#: lacks a part of the work is wrong by far more.
TOLERANCE = 0.05


class GraphedGradients:
    """Adds up the gradients of micro-batches, by replays of one graph where that works.

    The micro-batch that begins a step is captured, after a few plain ones; one of another size or
    weight (the rest of a share that does not divide evenly) goes on running plainly, into the same
    gradients. The first replay is compared with a plain run, for a capture that failed can leave an
    empty graph without an error. Where the two differ, or nothing can be captured, all runs plainly
    after one warning.

    Attributes:
        works: whether micro-batches are replays; None as long as nothing was captured.

    Args:
        parameters: whose gradients.
        capture: as `cuda_capture`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], capture: Capture = cuda_capture) -> None:
        self.works: bool | None = None
        self._parameters = list(parameters)
        self._device = self._parameters[0].device
        self._capture = capture
        self._plain = 0
        self._step_begins = True
        self._gradients: list[Tensor] = []

    def clear(self) -> None:
        """Before a step: gradients of zero for a graph, none without one."""
        self._step_begins = True
        if not self.works:
            for parameter in self._parameters:
                parameter.grad = None
            return
        torch._foreach_zero_(self._gradients)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def add(self, batch: Batch, weight: float, work: Work) -> Tensor:
        """Adds the gradients of a micro-batch, in memory of the host or the device.

        Args:
            batch: the micro-batch.
            weight: of its loss.
            work: what is computed of it.

        Returns:
            The terms [3] of its loss, on the device.
        """
        begins, self._step_begins = self._step_begins, False
        if self.works and (len(batch.names), weight) == self._captured:
            self._static.copy_(batch)
            self._replay()
            return self._terms.clone()
        if self.works is None and begins and self._plain >= PLAIN:
            return self._try_capture(batch, weight, work)
        self._plain += 1
        return work(batch.to(self._device), weight)

    def _try_capture(self, batch: Batch, weight: float, work: Work) -> Tensor:
        """As `add`, plainly; and again as the first replay, if a graph can be made of it."""
        self._static = batch.to(self._device).clone()
        terms = work(self._static, weight)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        plain = [terms, *(g.clone() for g in gradients)]
        if len(gradients) < len(self._parameters) or not torch.isfinite(_norm(plain)):
            return terms  # fp16 has to find its scale first: the next step is compared instead

        def run() -> None:
            self._terms = work(self._static, weight)

        try:
            gc.collect()  # a plain pass that is still referred to would bind the graph to it
            with _this_stream(self._device):
                self._replay = self._capture(run, self._device)
            torch._foreach_zero_(gradients)
            self._replay()
            fault = _fault([self._terms, *gradients], plain)
        except RuntimeError as error:
            fault = str(error)
        if fault:
            self.works = False
            warnings.warn(f"no CUDA graph: {fault}; training goes on without", stacklevel=2)
            torch._foreach_copy_(gradients, plain[1:])
            return terms
        self.works = True
        self._captured, self._gradients = (len(batch.names), weight), gradients
        return self._terms.clone()


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors)).norm()


def _fault(got: list[Tensor], plain: list[Tensor]) -> str:
    """How loss or gradients differ from those of a plain run; "" when they do not."""
    for name, part in (("loss", slice(0, 1)), ("gradients", slice(1, None))):
        difference = _norm(list(torch._foreach_sub(got[part], plain[part]))) / _norm(plain[part])
        if not difference <= TOLERANCE:
            return f"its {name} differ by {float(difference):.1e} (relative)"
    return ""


def _this_stream(device: torch.device) -> AbstractContextManager[object]:
    """A capture that fails can leave its own stream behind as the current one."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.current_stream(device))
