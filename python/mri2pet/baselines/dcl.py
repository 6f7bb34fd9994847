"""DCL: a pre-trained GAN is adapted while each draw stays the one its source drew.

Zhao et al., "A closer look at few-shot image generation", CVPR 2022: the dual contrastive learning
of generator and critic. No anchors, no patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mri2pet.baselines.base import Family
from mri2pet.baselines.gan import FAMILY_SETTINGS, Gan
from mri2pet.baselines.pairwise import critic_contrast, generator_contrast
from mri2pet.baselines.turn import Turn
from mri2pet.baselines.wasserstein import critic_loss, generator_loss, penalty

AUTHORS_KEPT = 0.34


class DCL(Gan):
    """Needs a pre-trained GAN and compares volumes, so at least 4 at a time.

    The published baseline hides 66 % of the joint features at random in each of the critic's
    evaluations, and compares features under dropout.
    """

    source: Family | None = "gan"
    least = 4
    settings: Mapping[str, dict[str, Any]] = {"finetune": FAMILY_SETTINGS}

    def of_critic(self, turn: Turn) -> dict[str, Tensor]:
        """WGAN-GP and L₂, over encoders that run once."""
        z = turn.draws.z()
        fake, of_source = turn.draw(z)[0], turn.draw_by_source(z)[0]
        joints = [turn.joint(pet) for pet in (fake, of_source, turn.real)]
        if turn.as_authors:
            joints = [
                joint * turn.draws.kept(f"mask {n}", AUTHORS_KEPT, joint.shape[1])
                for n, joint in enumerate(joints)
            ]
        critic = turn.critic
        at_mixture = penalty(turn.score, turn.real, fake, turn.draws.uniform("alpha"))
        terms = critic_loss(
            critic.score(joints[2]), critic.score(joints[0]), at_mixture, turn.config
        )
        # Without dropout, or features under different masks would be compared.
        features = [critic.features(joint, dropout=turn.as_authors) for joint in joints]
        layers = [critic_contrast(y, w, x) for y, w, x in zip(*features, strict=True)]
        contrast = torch.stack(layers).mean()
        loss = terms["loss"] + turn.config.baseline.critic_contrast * contrast
        return terms | {"loss": loss, "contrast": contrast}

    def of_generator(self, turn: Turn) -> dict[str, Tensor]:
        """The score of what is drawn, and L₁ of the activations."""
        z = turn.draws.z()
        drawn, adapted = turn.draw(z)
        _, of_source = turn.draw_by_source(z)
        terms = generator_loss(turn.score(drawn))
        layers = [
            generator_contrast(s, t, as_authors=turn.as_authors)
            for s, t in zip(of_source, adapted, strict=True)
        ]
        contrast = torch.stack(layers).mean()
        loss = terms["loss"] + turn.config.baseline.contrast * contrast
        return terms | {"loss": loss, "contrast": contrast}


BASELINE = DCL()
