"""CDC: a pre-trained GAN is adapted while the likeness among its draws is kept.

Ojha et al., "Few-shot image generation via cross-domain correspondence", CVPR 2021. What is drawn
near fixed anchors of the noise is judged as a whole ("image"), all else by patches ("patch").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mri2pet.baselines.base import Family, Phase
from mri2pet.baselines.gan import FAMILY_SETTINGS, Gan, whose_turns
from mri2pet.baselines.networks import NOISE, AuthorsCritic, Critic, Generator
from mri2pet.baselines.pairwise import mean_consistency
from mri2pet.baselines.turn import Turn
from mri2pet.baselines.wasserstein import Score, critic_loss, generator_loss, penalty
from mri2pet.config import Config

IMAGE, PATCH = "image", "patch"


class CDC(Gan):
    """Needs a pre-trained GAN, and at least 4 volumes at a time, the method's own number.

    The published baseline exchanges the kinds of step (anchors go with the patch head) and takes
    the penalty through the whole head in both.
    """

    source: Family | None = "gan"
    least = 4
    settings: Mapping[str, dict[str, Any]] = {"finetune": FAMILY_SETTINGS}

    def parts(self, config: Config) -> dict[str, nn.Module]:
        made = AuthorsCritic if config.baseline.as_authors else Critic
        return {"generator": Generator(config.model), "critic": made(config.model, patches=True)}

    def phases(self, update: int, config: Config) -> Sequence[Phase]:
        # Counted in the generator's updates: by the plain number it would meet patches alone.
        of_generator = update // config.baseline.n_critic
        image = of_generator % config.baseline.image_every == 0
        return whose_turns(update, config, IMAGE if image else PATCH)

    def judge(self, turn: Turn) -> Score:
        """The head of a turn, for real, drawn and mixed PETs alike."""
        if turn.phase.kind == IMAGE:
            return turn.score
        return lambda pet: turn.critic.patch_score(turn.condition, pet)

    def of_critic(self, turn: Turn) -> dict[str, Tensor]:
        return self.judged(turn, turn.draw(z_of(turn))[0])

    def judged(self, turn: Turn, fake: Tensor) -> dict[str, Tensor]:
        """The critic's loss over what was drawn."""
        score = self.judge(turn)
        penalised = turn.score if turn.as_authors else score
        at_mixture = penalty(penalised, turn.real, fake, turn.draws.uniform("alpha"))
        return critic_loss(score(turn.real), score(fake), at_mixture, turn.config)

    def of_generator(self, turn: Turn) -> dict[str, Tensor]:
        drawn, activations = turn.draw(z_of(turn))
        z = free_z(turn)
        if near_anchors(turn):
            _, activations = turn.draw(z)
        _, of_source = turn.draw_by_source(z)
        terms = generator_loss(self.judge(turn)(drawn))
        kept = mean_consistency(of_source, activations, as_authors=turn.as_authors)
        loss = terms["loss"] + turn.config.baseline.consistency * kept
        return terms | {"loss": loss, "consistency": kept}


def near_anchors(turn: Turn) -> bool:
    """Whether the noise of a turn lies near anchors."""
    return (turn.phase.kind == IMAGE) != turn.as_authors


def z_of(turn: Turn) -> Tensor:
    """The noise of what is judged in a turn, [B, 256]."""
    if near_anchors(turn):
        return turn.draws.z_near_anchors(turn.config.baseline.anchor_spread)
    return turn.draws.z()


def free_z(turn: Turn) -> Tensor:
    """The noise of a consistency, [B, 256]: never near anchors."""
    return turn.draws.normal("free z", NOISE) if near_anchors(turn) else turn.draws.z()


BASELINE = CDC()
