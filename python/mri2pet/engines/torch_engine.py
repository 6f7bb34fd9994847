"""The network in PyTorch: the engine that needs nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mri2pet.checkpoint import Model
from mri2pet.config import ModelConfig
from mri2pet.engines.base import Conditioned


class TorchEngine:
    """A loaded model as an engine.

    Args:
        model: from `load_model`.
    """

    engine = "torch"
    precision = "fp32"
    batch: int | None = None

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def sha256(self) -> str:
        return self.model.sha256

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def pet_mean(self) -> float:
        return self.model.pet_mean

    @property
    def pet_std(self) -> float:
        return self.model.pet_std

    @property
    def provenance(self) -> dict[str, Any]:
        return self.model.provenance

    @property
    def device(self) -> torch.device:
        return self.model.device

    def condition(self, mri: Tensor, timesteps: Tensor) -> Conditioned:
        network = self.model.network
        mri = mri.to(self.device)
        rows = network.block_biases(network.mri_encoder(mri), timesteps.to(self.device))
        on_pet_grid = network.mri_on_pet_grid(mri)

        def denoise(x: Tensor, row: Tensor) -> Tensor:
            same = None if on_pet_grid is None else on_pet_grid.expand(x.shape[0], -1, -1, -1, -1)
            return network.denoise(x, row, same)

        return Conditioned(rows, denoise)
