"""MaskGAN: CDC whose critic sees the PET through a random mask, and keeps likenesses itself.

Zhu et al., "Few-shot image generation via masked discrimination", 2024. Masked is the embedding of
the PET, not of the MRI: what is judged, not the question.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from mri2pet.baselines.cdc import CDC, IMAGE, PATCH, free_z, near_anchors, z_of
from mri2pet.baselines.networks import AuthorsCritic, Critic
from mri2pet.baselines.pairwise import mean_consistency
from mri2pet.baselines.turn import Turn
from mri2pet.baselines.wasserstein import Score
from mri2pet.nn.blocks import EMBEDDING

AUTHORS_KEPT = 0.34


class MaskGAN(CDC):
    """Image steps are masked, patch steps are not.

    The published baseline hides all of a volume's joint features or none, with a probability of
    0.66 and in the critic's turn alone; the generator always meets the whole head.
    """

    authors_settings: Mapping[str, Any] = {"baseline": {"critic_consistency": 1000.0}}

    def judge(self, turn: Turn) -> Score:
        evaluations = itertools.count()

        def masked(pet: Tensor) -> Tensor:
            return turn.critic.score(turn.joint(pet) * mask(turn, next(evaluations)))

        if turn.as_authors:
            return turn.score if turn.phase.part == "generator" else _authors_judge(turn)
        return masked if turn.phase.kind == IMAGE else super().judge(turn)

    def of_critic(self, turn: Turn) -> dict[str, Tensor]:
        fake, _ = turn.draw(z_of(turn))
        terms = self.judged(turn, fake)
        z = free_z(turn)
        adapted = turn.draw(z)[0] if near_anchors(turn) else fake
        features = turn.critic.features(turn.joint(adapted), dropout=False)
        of_source = _features_of_source(turn, z)
        kept = mean_consistency(of_source, features, as_authors=turn.as_authors)
        loss = terms["loss"] + turn.config.baseline.critic_consistency * kept
        return terms | {"loss": loss, "consistency": kept}


def mask(turn: Turn, evaluation: int) -> Tensor:
    """1 for what the head may read of the joint features, [512]: all of the MRI's half, and of
    the PET's a set of exact size, fresh in each evaluation and the same for all volumes."""
    chosen = int(turn.config.baseline.mask_share * EMBEDDING + 0.5)
    hidden = turn.draws.subset(f"mask {evaluation}", EMBEDDING, chosen)
    return torch.cat((torch.ones_like(hidden), ~hidden)).float()


@torch.no_grad()
def _features_of_source(turn: Turn, z: Tensor) -> list[Tensor]:
    """F¹ … F⁵ of the source's critic for what its generator draws; it has no dropout now."""
    critic = cast(Critic, turn.sources["critic"])
    pet, _ = turn.draw_by_source(z)
    return critic.features(critic.joint(critic.encode(turn.mri), pet), dropout=False)


def _authors_judge(turn: Turn) -> Score:
    critic = cast(AuthorsCritic, turn.critic)
    head = critic.patch_score_of if turn.phase.kind == PATCH else critic.score
    evaluations = itertools.count()

    def score(pet: Tensor) -> Tensor:
        kept = turn.draws.kept(f"mask {next(evaluations)}", AUTHORS_KEPT, 1)
        return head(turn.joint(pet) * kept)

    return score


BASELINE = MaskGAN()
