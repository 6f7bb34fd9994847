"""The network in PyTorch: the engine that needs nothing else."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from mri2pet.checkpoint import Model
from mri2pet.devices import whole_float32
from mri2pet.diffusion.graphed_loop import Loops
from mri2pet.engines.base import Conditioned
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.convolution import Conv3d

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """A loaded model as an engine.

    It does not hold the `Model` itself, which may keep its engine.

    Args:
        model: from `load_model`.
        precision: of the activations and the convolutions' weights: "fp32", "bf16", or "fp16" on
            CUDA. Norms and the attention's sums are float32 in each, as is what the loop adds up.
            "fp32" is float32 on a GPU too: no TF32.
        tf32: allow TF32 in "fp32", as torch itself does; for comparisons.
        graphed: on CUDA all steps are replays of one CUDA graph; without, for a few volumes, no
            time goes into capturing one.

    Raises:
        UsageError: an unknown precision, or fp16 on the CPU.
        ModelError: the generator of a GAN.
    """

    engine = "torch"
    batch: int | None = None

    def __init__(
        self,
        model: Model,
        precision: str = "fp32",
        *,
        tf32: bool = False,
        graphed: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        if precision == "fp16" and model.device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU; bf16 works on the CPU as well")
        self.name, self.sha256, self.config = model.name, model.sha256, model.config
        self.pet_mean, self.pet_std = model.pet_mean, model.pet_std
        self.provenance, self.device = model.provenance, model.device
        self.precision = precision
        self.tf32 = tf32
        self._whole = model.diffusion
        self._network = in_precision(self._whole, PRECISIONS[precision])
        self.loops = Loops() if graphed and model.device.type == "cuda" else None

    def condition(self, mri: Tensor, timesteps: Tensor) -> Conditioned:
        network = self._whole
        mri = mri.to(self.device)
        with whole_float32(not self.tf32):
            rows = network.block_biases(network.mri_encoder(mri), timesteps.to(self.device))
            guide = network.guide(mri)
            expected = network.expected(guide)
        inputs = () if guide is None else (guide,)
        directions = None if network.linear is None else network.linear.directions
        return Conditioned(rows, self._evaluate, inputs, self.loops, expected, directions)

    def _evaluate(self, x: Tensor, row: Tensor, guide: Tensor | None = None) -> Tensor:
        if guide is not None:
            guide = guide.expand(x.shape[0], -1, -1, -1, -1)
        x = x.to(memory_format=torch.channels_last_3d)
        with whole_float32(not self.tf32):
            return self._network.denoise(x, row, guide).float()


def in_precision(network: Network, dtype: torch.dtype) -> Network:
    """The network whose convolutions take activations of a dtype; itself for float32.

    The other parameters stay in float32, which their kernels take beside any activations.
    """
    if dtype == torch.float32:
        return network
    network = copy.deepcopy(network)
    network.activations = dtype
    for module in network.unet.modules():
        if isinstance(module, Conv3d):
            module.to(dtype)
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.unet.head.to(dtype)
    return network
