"""The adversarial loss of all GANs here: WGAN-GP.

Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mri2pet.config import Config

#: PETs [B, 1, K, I, J] → a critic's scores [B].
Score = Callable[[Tensor], Tensor]


def critic_loss(
    real_scores: Tensor, fake_scores: Tensor, at_mixture: Tensor, config: Config
) -> dict[str, Tensor]:
    """−mean D(real) + mean D(fake) + weight · penalty; `gap` is mean D(real) − mean D(fake).

    Args:
        real_scores, fake_scores: [B].
        at_mixture: what `penalty` gave.
    """
    gap = real_scores.mean() - fake_scores.mean()
    loss = -gap + config.baseline.gradient_penalty * at_mixture
    return {"loss": loss, "gap": gap, "penalty": at_mixture}


def penalty(score: Score, real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """mean_b (‖∇ D(x̂_b)‖₂ − 1)² at x̂ = α · real + (1 − α) · fake, equation 3 of the paper.

    The norm is over all voxels of a volume. Its gradient reaches the critic's parameters, so the
    critic is differentiated twice.

    Args:
        score: PETs [B, 1, K, I, J] → scores [B].
        real, fake: PETs; no gradient goes into them.
        alpha: [B] in (0, 1).
    """
    alpha = alpha.reshape(-1, 1, 1, 1, 1)
    mixture = (alpha * real + (1 - alpha) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(mixture).sum(), mixture, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def generator_loss(scores: Tensor) -> dict[str, Tensor]:
    """−mean D(G(z, m)), of the scores of drawn PETs."""
    return {"loss": -scores.mean()}
