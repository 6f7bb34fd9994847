"""One part's turn over a micro-batch, as every GAN takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from mri2pet.baselines.base import Pairs, Phase
from mri2pet.baselines.draws import Draws
from mri2pet.baselines.networks import Critic, Generator
from mri2pet.config import Config


@dataclass
class Turn:
    """A phase with all that its loss may use; see `base.Baseline.loss` for the fields.

    A network encodes the MRIs once a turn. `noisy` adds noise to them, as the published code of
    some baselines does.
    """

    phase: Phase
    parts: Mapping[str, nn.Module]
    sources: Mapping[str, nn.Module]
    batch: Pairs
    draws: Draws
    config: Config
    noisy: bool = False

    @cached_property
    def mri(self) -> Tensor:
        return self.draws.noisy(self.batch.mri) if self.noisy else self.batch.mri

    @property
    def real(self) -> Tensor:
        return self.batch.pet

    @property
    def as_authors(self) -> bool:
        return self.config.baseline.as_authors

    @property
    def critic(self) -> Critic:
        return cast(Critic, self.parts["critic"])

    @cached_property
    def condition(self) -> Tensor:
        """The critic's, [B, 256]."""
        return self.critic.encode(self.mri)

    @cached_property
    def _of_generator(self) -> Tensor:
        return cast(Generator, self.parts["generator"]).encode(self.mri)

    @cached_property
    def _of_source(self) -> Tensor:
        return cast(Generator, self.sources["generator"]).encode(self.mri)

    def draw(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """PETs and activations; with gradient in the generator's turn alone."""
        with torch.set_grad_enabled(self.phase.part == "generator"):
            return cast(Generator, self.parts["generator"]).draw(self._of_generator, z)

    @torch.no_grad()
    def draw_by_source(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the source draws of the same noise, and its activations."""
        return cast(Generator, self.sources["generator"]).draw(self._of_source, z)

    def joint(self, pet: Tensor) -> Tensor:
        """What the critic's head reads of PETs beside the MRIs, [B, 512]."""
        return self.critic.joint(self.condition, pet)

    def score(self, pet: Tensor) -> Tensor:
        """By the whole head, [B]."""
        return self.critic.score(self.joint(pet))
