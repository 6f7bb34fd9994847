"""The conditional GAN: WGAN-GP, by which the other GANs learn as well.

Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017. The generator learns in
every second update, as the authors of MRI2PET have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mri2pet.baselines.base import Family, Pairs, Phase
from mri2pet.baselines.networks import AuthorsCritic, Critic, Generator
from mri2pet.baselines.turn import Turn
from mri2pet.baselines.wasserstein import critic_loss, generator_loss, penalty
from mri2pet.config import Config

if TYPE_CHECKING:
    from mri2pet.baselines.draws import Draws

#: What all GANs lay over a preset.
FAMILY_SETTINGS: dict[str, Any] = {
    "model": {"family": "gan", "cond": "embedding", "linear_components": 0},
    "training": {
        "micro_batch": 16,
        "lr": 1e-4,
        "lr_schedule": "constant",
        "warmup_volumes": 0,
        "grad_clip": 0.5,
        "laplacian_weight": 0.0,
        "late_share": 0.0,
        "precision": "fp32",
    },
}


class Gan:
    """Learns from pairs alone; in pre-training, from MRIs, it becomes the source of others."""

    family = "gan"
    source: Family | None = None
    least = 2
    settings: Mapping[str, dict[str, Any]] = {
        "pretrain": {
            **FAMILY_SETTINGS,
            "training": {**FAMILY_SETTINGS["training"], "target": "mri"},
        },
        "finetune": {
            **FAMILY_SETTINGS,
            "training": {**FAMILY_SETTINGS["training"], "grad_clip": None},
        },
    }
    authors_settings: Mapping[str, Any] = {}

    def parts(self, config: Config) -> dict[str, nn.Module]:
        made = AuthorsCritic if config.baseline.as_authors else Critic
        return {"generator": Generator(config.model), "critic": made(config.model)}

    def phases(self, update: int, config: Config) -> Sequence[Phase]:
        return whose_turns(update, config)

    def loss(
        self,
        phase: Phase,
        parts: Mapping[str, nn.Module],
        sources: Mapping[str, nn.Module],
        batch: Pairs,
        draws: Draws,
        config: Config,
    ) -> dict[str, Tensor]:
        # The published code adds noise to the MRI in pre-training and in what starts from there.
        of_pretraining = self.source is not None or config.training.stage == "pretrain"
        noisy = config.baseline.as_authors and of_pretraining
        turn = Turn(phase, parts, sources, batch, draws, config, noisy)
        return self.of_critic(turn) if phase.part == "critic" else self.of_generator(turn)

    def of_critic(self, turn: Turn) -> dict[str, Tensor]:
        """The loss in the critic's turn."""
        fake, _ = turn.draw(turn.draws.z())
        at_mixture = penalty(turn.score, turn.real, fake, turn.draws.uniform("alpha"))
        return critic_loss(turn.score(turn.real), turn.score(fake), at_mixture, turn.config)

    def of_generator(self, turn: Turn) -> dict[str, Tensor]:
        """The loss in the generator's turn."""
        drawn, _ = turn.draw(turn.draws.z())
        return generator_loss(turn.score(drawn))


def whose_turns(update: int, config: Config, kind: str = "") -> list[Phase]:
    """The critic's turn, and the generator's in every `n_critic`-th update."""
    phases = [Phase("critic", kind)]
    if (update + 1) % config.baseline.n_critic == 0:
        phases.append(Phase("generator", kind))
    return phases


BASELINE = Gan()
