"""The network in PyTorch: the engine that needs nothing else."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from mri2pet.checkpoint import Model
from mri2pet.config import ModelConfig
from mri2pet.engines.base import Conditioned
from mri2pet.engines.cuda_graph import GraphedCall
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.convolution import Conv3d

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """A loaded model as an engine.

    On CUDA an evaluation is one CUDA graph for each number of volumes; the host never waits in
    the loop.

    Args:
        model: from `load_model`.
        precision: of the activations and the convolutions' weights: "fp32", "bf16", or "fp16" on
            CUDA. Norms and the attention's sums are float32 in each, as is what the loop adds up.

    Raises:
        UsageError: an unknown precision, or fp16 on the CPU.
    """

    engine = "torch"
    batch: int | None = None

    def __init__(self, model: Model, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        if precision == "fp16" and model.device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU; bf16 works on the CPU as well")
        self.model = model
        self.precision = precision
        self._network = in_precision(model.network, PRECISIONS[precision])
        self._graphs: dict[int, GraphedCall] = {}

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
            inputs: tuple[Tensor, ...] = (x, row)
            if on_pet_grid is not None:
                inputs += (on_pet_grid.expand(x.shape[0], -1, -1, -1, -1),)
            if self.device.type != "cuda":
                return self._evaluate(*inputs)
            if x.shape[0] not in self._graphs:
                self._graphs[x.shape[0]] = GraphedCall(self._evaluate, inputs)
            return self._graphs[x.shape[0]](*inputs)

        return Conditioned(rows, denoise)

    def _evaluate(self, x: Tensor, row: Tensor, on_pet_grid: Tensor | None = None) -> Tensor:
        x = x.to(PRECISIONS[self.precision], memory_format=torch.channels_last_3d)
        return self._network.denoise(x, row, on_pet_grid).float()


def in_precision(network: Network, dtype: torch.dtype) -> Network:
    """The network whose convolutions take activations of a dtype; itself for float32.

    The other parameters stay in float32, which their kernels take beside any activations.
    """
    if dtype == torch.float32:
        return network
    network = copy.deepcopy(network)
    for module in network.unet.modules():
        if isinstance(module, Conv3d):
            module.to(dtype)
    network.unet.head.to(dtype)
    return network
