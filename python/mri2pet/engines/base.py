"""The interface between the sampling loop and whatever evaluates the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mri2pet.config import ModelConfig
from mri2pet.diffusion.graphed_loop import Loops


@dataclass(frozen=True)
class Conditioned:
    """One subject, ready for the loop.

    Attributes:
        bias_rows: [S, R], all that the network's blocks take from step and MRI, a row a step.
        evaluate: (x_t [B, 1, K, I, J], bias row [B, R], *inputs [1 or B, …]) → the network's
            output, of x_t's shape; the next call may overwrite it. One function for all subjects.
        inputs: what it takes beside, [1, …] each: of this subject, the same at all steps. At most
            one, `nn.network.Network.guide`.
        loops: the engine's captured loops, where its evaluation can be captured.
        expected: the PET that a linear denoiser expects, [1, 1, K, I, J]; None without.
        directions: of the linear denoiser, unit vectors [P, voxels]; None without.
    """

    bias_rows: Tensor
    evaluate: Callable[..., Tensor]
    inputs: tuple[Tensor, ...] = ()
    loops: Loops | None = None
    expected: Tensor | None = None
    directions: Tensor | None = None

    def denoise(self, x: Tensor, row: Tensor) -> Tensor:
        """The network's output for volumes of this subject."""
        return self.evaluate(x, row, *self.inputs)


class Engine(Protocol):
    """A trained network behind one call; `Model` facts beside it.

    Attributes:
        engine: "torch", "onnxruntime" or "tensorrt".
        precision: "fp32", "bf16", "fp16" or "mixed"; another one gives another volume.
        batch: volumes a call takes at most; None for any number.
        name, sha256, config, pet_mean, pet_std, provenance: of the model, see `Model`.
        device: where the loop's tensors live.
    """

    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def batch(self) -> int | None: ...
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def config(self) -> ModelConfig: ...
    @property
    def pet_mean(self) -> float: ...
    @property
    def pet_std(self) -> float: ...
    @property
    def provenance(self) -> dict[str, Any]: ...
    @property
    def device(self) -> torch.device: ...

    def condition(self, mri: Tensor, timesteps: Tensor) -> Conditioned:
        """Everything that does not change in the loop, once a subject.

        Args:
            mri: float32 [1, 1, K, I, J] in model space, in [0, 1].
            timesteps: int64 [S].
        """
        ...
