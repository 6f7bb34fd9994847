"""A GAN's generator as an engine: a PET is one evaluation, without a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from mri2pet.baselines.networks import NOISE, Generator
from mri2pet.checkpoint import Model
from mri2pet.devices import whole_float32
from mri2pet.diffusion.schedule import STEPS
from mri2pet.errors import ModelError, UsageError
from mri2pet.ops import philox_normal


class GeneratorEngine:
    """A loaded model of the family "gan".

    Args:
        model: from `load_model`.
        precision: "fp32", in which it was trained.

    Raises:
        UsageError: another precision.
        ModelError: a model of diffusion.
    """

    engine = "torch"
    batch: int | None = None

    def __init__(self, model: Model, precision: str = "fp32") -> None:
        if precision != "fp32":
            raise UsageError(f"precision {precision}: the generator of a GAN draws in fp32 alone")
        if not isinstance(model.network, Generator):
            raise ModelError(f"{model.name}: holds no generator of a GAN")
        self.name, self.sha256, self.config = model.name, model.sha256, model.config
        self.pet_mean, self.pet_std = model.pet_mean, model.pet_std
        self.provenance, self.device = model.provenance, model.device
        self.precision = precision
        self._generator = model.network

    def condition(self, mri: Tensor, timesteps: Tensor) -> NoReturn:
        """Raises ModelError: there are no steps."""
        raise ModelError(f"{self.name}: is the generator of a GAN and draws without steps")

    def encode(self, mri: Tensor) -> Tensor:
        """[1, 1, K, I, J] in [0, 1] → [1, 256], once a subject."""
        with whole_float32(True):
            return self._generator.encode(mri.to(self.device))

    def draw(
        self, conditions: Tensor, *, seed: int, subjects: Sequence[int], samples: Sequence[int]
    ) -> Tensor:
        """PETs from the sampling noise of their (subject, sample), standardised.

        Args:
            conditions: [B, 256], of `encode`.
            seed: 0 … 2³²−1.
            subjects: B int64 numbers; samples: B numbers.

        Returns:
            float32 [B, 1, K, I, J].
        """
        z = philox_normal(
            (NOISE,),
            step=STEPS,
            seed=seed,
            subjects=torch.tensor(subjects),
            samples=torch.tensor(samples),
            device=self.device,
        )
        with whole_float32(True):
            return self._generator.draw(conditions, z)[0]
