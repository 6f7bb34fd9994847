"""What a run needs to go on, and its checkpoints: the parts that learn, and the progress."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mri2pet.descriptions import HASH
from mri2pet.errors import Mri2petError
from mri2pet.files import write_atomically
from mri2pet.training.part import Part

LAST, PREVIOUS, NEXT = "last.safetensors", "previous.safetensors", "next.safetensors"


class TrainingState:
    """The parts of one run and its progress.

    Args:
        parts: name → what learns; "network" alone for the diffusion model.

    Attributes:
        sources: name → a frozen module of the model that the run started from, which a method
            compares with; it is loaded anew on resuming.
        start: part → SHA-256 of the weights that it started from; empty for one from scratch.
        volumes, updates: how many were seen and made.
    """

    def __init__(self, parts: dict[str, Part]) -> None:
        self.parts = parts
        self.sources: dict[str, nn.Module] = {}
        self.start: dict[str, str] = {}
        self.volumes = 0
        self.updates = 0

    def update_averages(self) -> None:
        """After an update."""
        for part in self.parts.values():
            part.update_average(self.updates)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state under one flat name."""
        return {
            name: value
            for part_name, part in self.parts.items()
            for name, value in part.tensors(_prefix(part_name)).items()
        }

    def progress(self) -> dict[str, Any]:
        """What else has to be remembered."""
        scalers = {
            f"{_prefix(name)}scaler": part.scaler.state_dict()
            for name, part in self.parts.items()
            if part.scaler.is_enabled()
        }
        progress = {"volumes": self.volumes, "updates": self.updates}
        return {**progress, "start": self.start, **scalers}

    def load(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Takes over what `tensors` and `progress` gave."""
        for name, part in self.parts.items():
            part.load(tensors, _prefix(name))
            if progress.get(f"{_prefix(name)}scaler"):
                part.scaler.load_state_dict(progress[f"{_prefix(name)}scaler"])
        self.start = progress.get("start", self.start)  # the first runs did not note it
        self.volumes, self.updates = progress["volumes"], progress["updates"]


def _prefix(part: str) -> str:
    """The names of the diffusion model's only part stand without its own."""
    return "" if part == "network" else f"{part}."


def save_state(folder: Path, state: TrainingState) -> None:
    """Writes the state as the last checkpoint and keeps the one before.

    The new one is whole on the disk before an older one is touched: a full disk costs nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors, facts = state.tensors(), json.dumps(state.progress())
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
