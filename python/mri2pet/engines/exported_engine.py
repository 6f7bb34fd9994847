"""What the engines of an export have in common: its facts, and the work before the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.config import ModelConfig
from mri2pet.diffusion.graphed_loop import Loops
from mri2pet.engines.base import Conditioned
from mri2pet.engines.exported import BIASES, EXPECTATION, PREDICTION, read_export
from mri2pet.errors import UsageError
from mri2pet.nn.linear_denoiser import expected_pet, predicted_pet
from mri2pet.nn.network import mri_on_pet_grid
from mri2pet.nn.time_embedding import time_embedding


def guide(
    mri: Tensor, shape: tuple[int, int, int], arrays: dict[str, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """`nn.network.Network.guide` and `expected` by what an export holds.

    Args:
        mri: float32 [B, 1, K, I, J] in model space.
        shape: of the PET grid.
        arrays: those of BIASES.

    Returns:
        [B, 1 or 2, K, I, J], and the expected PET where the network has a linear denoiser.
    """
    grid = mri_on_pet_grid(mri, shape)
    if "linear" not in arrays:
        return grid, None
    predicted = predicted_pet(grid, **{name: arrays[name] for name in PREDICTION})
    expected = expected_pet(predicted, **{name: arrays[name] for name in EXPECTATION})
    return torch.cat((grid, predicted), dim=1), expected


class ExportedEngine(ABC):
    """An export folder as an engine; a subclass evaluates its two graphs.

    Args:
        folder: from `export_onnx`.
        device: where the loop's tensors live.

    Raises:
        ModelError: the export is incomplete or changed.
    """

    loops: Loops | None = None

    def __init__(self, folder: str | Path, device: str) -> None:
        self.export = read_export(folder)
        self.device = torch.device(device)
        self._config = self.export.config
        state = safetensors.torch.load_file(self.export.file(BIASES), device=str(self.device))
        self._weight, self._bias = state["weight"], state["bias"]
        self._linear = state.get("linear")
        self._arrays = state

    @property
    def precision(self) -> str:
        return self.export.precision

    @property
    def batch(self) -> int | None:
        return self.export.batch

    @property
    def name(self) -> str:
        return str(self.export.manifest["name"])

    @property
    def sha256(self) -> str:
        return str(self.export.manifest["model_sha256"])

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def pet_mean(self) -> float:
        return float(self.export.manifest["pet_mean"])

    @property
    def pet_std(self) -> float:
        return float(self.export.manifest["pet_std"])

    @property
    def provenance(self) -> dict[str, Any]:
        return dict(self.export.manifest.get("provenance", {}))

    def condition(self, mri: Tensor, timesteps: Tensor) -> Conditioned:
        mri = mri.to(self.device, torch.float32)
        embedding = self._encode(mri.contiguous())
        timesteps = timesteps.to(self.device)
        activated = F.silu(embedding + time_embedding(timesteps))
        rows = F.linear(activated, self._weight, self._bias)
        if self._linear is not None:
            rows = torch.cat((rows, self._linear[timesteps]), dim=1)
        inputs: tuple[Tensor, ...] = ()
        expected = None
        if self._config.cond == "concat":
            whole, expected = guide(mri, self._config.pet_shape, self._arrays)
            inputs = (whole,)
        directions = None if expected is None else self._arrays["directions"]
        return Conditioned(rows, self._evaluate, inputs, self.loops, expected, directions)

    def _evaluate(self, x: Tensor, row: Tensor, *guides: Tensor) -> Tensor:
        count = x.shape[0]
        if count > self.export.batch:
            raise UsageError(f"this export takes {self.export.batch} volumes a call, not {count}")
        inputs = {"x_t": self._filled(x), "block_biases": self._filled(row)}
        for one in guides:
            inputs["guide"] = self._filled(one.expand(count, -1, -1, -1, -1))
        return self._denoise(inputs)[:count]

    @abstractmethod
    def _encode(self, mri: Tensor) -> Tensor:
        """[1, 1, K, I, J] → the embedding [1, 256]."""

    @abstractmethod
    def _denoise(self, inputs: dict[str, Tensor]) -> Tensor:
        """The denoiser's inputs by name, float32 and contiguous → its output."""

    def _filled(self, tensor: Tensor) -> Tensor:
        """The tensor with as many rows as the graph takes; missing ones are zero."""
        missing = self.export.batch - tensor.shape[0]
        tensor = tensor.to(self.device, torch.float32)
        if missing:
            tensor = torch.cat((tensor, tensor.new_zeros(missing, *tensor.shape[1:])))
        return tensor.contiguous()
