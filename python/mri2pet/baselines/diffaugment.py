"""DiffAugment: a GAN whose critic sees every PET, real or drawn, varied at random.

Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020. Only the
PET is varied; the gradient of what the generator drew goes through the variation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mri2pet.baselines.gan import FAMILY_SETTINGS, Gan
from mri2pet.baselines.turn import Turn
from mri2pet.baselines.variations import draw_variation
from mri2pet.baselines.wasserstein import critic_loss, generator_loss, penalty


class DiffAugment(Gan):
    """The conditional GAN over varied PETs, from scratch."""

    settings: Mapping[str, dict[str, Any]] = {"finetune": FAMILY_SETTINGS}

    def of_critic(self, turn: Turn) -> dict[str, Tensor]:
        """Real and drawn PETs are varied apart; the penalty is taken between the varied ones."""
        real = _varied(turn, turn.real, "real")
        fake = _varied(turn, turn.draw(turn.draws.z())[0], "fake")
        at_mixture = penalty(turn.score, real, fake, turn.draws.uniform("alpha"))
        return critic_loss(turn.score(real), turn.score(fake), at_mixture, turn.config)

    def of_generator(self, turn: Turn) -> dict[str, Tensor]:
        """Gradients reach the generator through the variation."""
        drawn, _ = turn.draw(turn.draws.z())
        return generator_loss(turn.score(_varied(turn, drawn, "fake")))


def _varied(turn: Turn, pet: Tensor, of: str) -> Tensor:
    variation = draw_variation(turn.draws, of, *pet.shape[-2:])
    return variation(pet, as_authors=turn.as_authors)


BASELINE = DiffAugment()
