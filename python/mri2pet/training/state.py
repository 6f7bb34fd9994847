"""What a run needs to go on: parameters, their average, Adam's moments and the progress."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mri2pet.descriptions import HASH
from mri2pet.errors import Mri2petError
from mri2pet.files import write_atomically
from mri2pet.training.graphed_gradients import GraphedGradients

LAST, PREVIOUS, NEXT = "last.safetensors", "previous.safetensors", "next.safetensors"


def can_be_graphed(device: str, *, parallel: bool, compiled: bool) -> bool:
    """Whether forward and backward are tried as a CUDA graph.

    Not with several processes: `DistributedDataParallel` decides in every backward pass whether
    gradients travel. Not with torch.compile, which may compile anew at any call.
    """
    return device == "cuda" and not parallel and not compiled


class TrainingState:
    """The network, its exponential moving average and the optimiser of one run.

    `forward` is the network, or its wrapper that averages gradients over the processes;
    `compiled` lets torch.compile make kernels of it; `scaled` scales gradients for fp16. `graph`
    makes the gradients, or is None where they are made by plain calls.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        ema_decay: float,
        *,
        parallel: bool = False,
        compiled: bool = False,
        scaled: bool = False,
    ) -> None:
        self.network = network
        self._wrapper = DistributedDataParallel(network) if parallel else None
        whole: nn.Module = self._wrapper or network
        if compiled:
            whole = cast(nn.Module, torch.compile(whole))
        self.forward = whole
        self.ema_decay = ema_decay
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        device = next(network.parameters()).device.type
        # The fused form is one launch for all parameters; a CPU keeps the bits of older runs.
        fused = True if device == "cuda" else None
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr, fused=fused)
        self.scaler = torch.amp.GradScaler(device, enabled=scaled)  # type: ignore[attr-defined]
        self.graph = (
            GraphedGradients(network.parameters())
            if can_be_graphed(device, parallel=parallel, compiled=compiled)
            else None
        )
        self.volumes = 0
        self.updates = 0

    def clear_gradients(self) -> None:
        """Before a step."""
        if self.graph is None:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.graph.clear()

    def synchronised(self, now: bool) -> AbstractContextManager[object]:
        """The context of a backward pass: gradients are exchanged at its end if `now`."""
        return nullcontext() if now or self._wrapper is None else self._wrapper.no_sync()

    @torch.no_grad()
    def start_from(self, parameters: dict[str, Tensor]) -> None:
        """Network and average take these values; Adam's moments and the progress stay at zero."""
        self.network.load_state_dict(parameters)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    @torch.no_grad()
    def update_average(self) -> None:
        """average ← d · average + (1 − d) · parameters, d rising to its value at the start."""
        decay = min(self.ema_decay, (1 + self.updates) / (10 + self.updates))
        values = self.network.state_dict()
        averages = [self.average[name] for name in values]
        torch._foreach_lerp_(averages, list(values.values()), 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state under one flat name."""
        named = dict(self.network.named_parameters())
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in named.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Takes over what `tensors` gave, in the memory layout of the parameters."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "adam": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.network.load_state_dict(parts["network"])
        for name, value in parts["average"].items():
            self.average[name].copy_(value)
        for name, parameter in self.network.named_parameters():
            state = {
                key: parts["adam"][f"{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in parts["adam"]
            }
            if state:
                self.optimizer.state[parameter] = self._beside(parameter, state)
        if progress.get("scaler"):
            self.scaler.load_state_dict(progress["scaler"])
        self.volumes, self.updates = progress["volumes"], progress["updates"]

    def _beside(self, parameter: nn.Parameter, state: dict[str, Tensor]) -> dict[str, Tensor]:
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


def save_state(folder: Path, state: TrainingState) -> None:
    """Writes the state as the last checkpoint and keeps the one before.

    The new one is whole on the disk before an older one is touched: a full disk costs nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress: dict[str, Any] = {"volumes": state.volumes, "updates": state.updates}
    if state.scaler.is_enabled():
        progress["scaler"] = state.scaler.state_dict()
    tensors, facts = state.tensors(), json.dumps(progress)
    metadata = {"progress": facts, HASH: _hash_of(tensors, facts)}
    blob = safetensors.torch.save(tensors, metadata=metadata)
    write_atomically(folder / NEXT, blob)
    last = folder / LAST
    if last.exists():
        last.replace(folder / PREVIOUS)
    (folder / NEXT).replace(last)


def load_state(folder: Path, state: TrainingState) -> str | None:
    """Loads the newest checkpoint that can be read; None when there is none yet.

    Returns:
        A sentence about a damaged last checkpoint that was passed over, or "".

    Raises:
        Mri2petError: there are checkpoints and none can be read.
    """
    candidates = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in candidates:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata[HASH] != _hash_of(tensors, metadata["progress"]):
                raise ValueError("the hash differs")
            state.load(tensors, json.loads(metadata["progress"]))
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            safetensors.SafetensorError,
        ):
            continue
        damaged = path.name != LAST
        return f"{folder / LAST} is damaged or missing; going on from {path}" if damaged else ""
    if candidates:
        raise Mri2petError(f"{folder}: no checkpoint can be read; remove the run to start again")
    return None


def _hash_of(tensors: dict[str, Tensor], progress: str) -> str:
    """SHA-256 of every tensor, with name, dtype and shape, and of the progress."""
    digest = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
