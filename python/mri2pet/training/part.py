"""One part of what learns: a module, its moving average and its optimiser."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mri2pet.training.distributed import World, average_over_world
from mri2pet.training.graphed_gradients import GraphedGradients

ADAM = ("step", "exp_avg", "exp_avg_sq")


def can_be_graphed(device: str, *, parallel: bool, compiled: bool) -> bool:
    """Whether forward and backward are tried as a CUDA graph.

    Not with several processes: `DistributedDataParallel` decides in every backward pass whether
    gradients travel. Not with torch.compile, which may compile anew at any call.
    """
    return device == "cuda" and not parallel and not compiled


class Part:
    """A module that learns.

    Attributes:
        module: what learns.
        forward: the module, or its wrapper that averages gradients over the processes.
        average: its exponential moving average.
        terms: what its loss's terms are called, once it was computed; a replay does not say it.
        graph: makes the gradients, or is None where they are made by plain calls.

    Args:
        module: on its device.
        lr: of Adam.
        ema_decay: of the moving average.
        betas: of Adam.
        parallel: wrap it, so that backward passes average its gradients over the processes.
        compiled: let torch.compile make kernels of it.
        scaled: scale gradients for fp16.
        plain: no CUDA graph.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        ema_decay: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        parallel: bool = False,
        compiled: bool = False,
        scaled: bool = False,
        plain: bool = False,
    ) -> None:
        self.module = module
        self._wrapper = DistributedDataParallel(module) if parallel else None
        whole: nn.Module = self._wrapper or module
        if compiled:
            whole = cast(nn.Module, torch.compile(whole))
        self.forward = whole
        self.ema_decay = ema_decay
        self.terms: tuple[str, ...] = ()
        self.average = {k: v.detach().clone() for k, v in module.state_dict().items()}
        device = next(module.parameters()).device.type
        # The fused form is one launch for all parameters; a CPU keeps the bits of older runs.
        fused = True if device == "cuda" else None
        self.optimizer = torch.optim.Adam(module.parameters(), lr=lr, betas=betas, fused=fused)
        self.scaler = torch.amp.GradScaler(device, enabled=scaled)  # type: ignore[attr-defined]
        graphed = can_be_graphed(device, parallel=parallel, compiled=compiled) and not plain
        self.graph = GraphedGradients(module.parameters()) if graphed else None

    def clear_gradients(self) -> None:
        """Before its turn."""
        if self.graph is None:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.graph.clear()

    def synchronised(self, now: bool) -> AbstractContextManager[object]:
        """The context of a backward pass: a wrapper exchanges gradients at its end if `now`."""
        return nullcontext() if now or self._wrapper is None else self._wrapper.no_sync()

    def update(self, lr: float, grad_clip: float | None, world: World) -> Tensor:
        """Adam's step by the gradients of all processes, clipped; returns their norm before."""
        if self._wrapper is None:
            gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
            average_over_world(gradients, world)
        self.scaler.unscale_(self.optimizer)
        limit = math.inf if grad_clip is None else grad_clip
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), limit)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def share_statistics(self, world: World) -> None:
        """Running statistics become the mean over the processes, each of which saw its volumes."""
        buffers = dict(self.module.named_buffers())
        average_over_world([b for name, b in buffers.items() if "running" in name], world)

    @torch.no_grad()
    def start_from(self, values: dict[str, Tensor]) -> None:
        """Module and average take these values; Adam's moments stay at zero.

        What a source has not, such as a head that a method adds, stays as it was made.
        """
        self.module.load_state_dict({**self.module.state_dict(), **values})
        self.average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    @torch.no_grad()
    def update_average(self, updates: int) -> None:
        """average ← d · average + (1 − d) · values, d rising to its value at the start."""
        decay = min(self.ema_decay, (1 + updates) / (10 + updates))
        values = self.module.state_dict()
        averages = [self.average[name] for name in values]
        torch._foreach_lerp_(averages, list(values.values()), 1 - decay)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Every tensor under one flat name behind `prefix`."""
        named = dict(self.module.named_parameters())
        tensors = {f"network.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in named.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        return {prefix + k: v.detach().cpu().contiguous() for k, v in tensors.items()}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor], prefix: str) -> None:
        """Takes over what `tensors` gave, in the memory layout of the parameters."""
        kinds: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "adam": {}}
        for name, value in tensors.items():
            if name.startswith(prefix):
                kind, _, rest = name.removeprefix(prefix).partition(".")
                kinds[kind][rest] = value
        # By the module, which knows what older runs called its buffers.
        self.module.load_state_dict(kinds["average"])
        for name, value in self.module.state_dict().items():
            self.average[name].copy_(value)
        self.module.load_state_dict(kinds["network"])
        for name, parameter in self.module.named_parameters():
            state = {
                key: kinds["adam"][f"{key}.{name}"]
                for key in ADAM
                if f"{key}.{name}" in kinds["adam"]
            }
            if state:
                self.optimizer.state[parameter] = self._beside(parameter, state)

    def _beside(self, parameter: nn.Parameter, state: dict[str, Tensor]) -> dict[str, Any]:
        """Adam's state of a parameter where the optimiser wants it.

        With other strides than the parameter's it would go on one tensor at a time; its fused
        form counts the steps on the device.
        """
        fused = self.optimizer.defaults["fused"]
        return {
            key: value.to(parameter.device if fused else "cpu")
            if key == "step"
            else torch.empty_like(parameter).copy_(value)
            for key, value in state.items()
        }
