"""The training objective of one micro-batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mri2pet.diffusion import schedule
from mri2pet.ops import laplacian_pyramid_loss

LATE_STEP = 900


@dataclass(frozen=True)
class Objective:
    """The loss and its two terms, scalars."""

    total: Tensor
    mse: Tensor
    laplacian: Tensor


def training_objective(
    network: nn.Module,
    prediction: str,
    mri: Tensor,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    laplacian_weight: float,
    snr_clip: float | None = None,
) -> Objective:
    """mean (target − output)² + λ · Lap(x_0, x̃_0), equations 5–7 of the paper.

    Args:
        network: called as network(x_t, t, mri).
        prediction: "epsilon" or "v".
        mri: [B, 1, K, I, J] in [0, 1].
        x0: standardised PET [B, 1, K, I, J].
        t: int64 [B], 1 … 999.
        noise: standard normal, the shape of x0.
        laplacian_weight: λ (0.25 in the paper's fine-tuning, 0 in its pre-training).
        snr_clip: upper bound of the Laplacian term's weight: (1 − ᾱ)/ᾱ for ε, which reaches
            46,000 at the last step; 1 − ᾱ for v.
    """
    x_t = schedule.add_noise(x0, noise, t)
    output = network(x_t, t, mri)
    a = schedule.alpha_bar_at(t)
    if prediction == "epsilon":
        target, weight = noise, (1 - a) / a
    else:
        target, weight = schedule.velocity(x0, noise, t), 1 - a
    if snr_clip is not None:
        weight = weight.clamp(max=snr_clip)
    return Objective(*laplacian_pyramid_loss(output, target, weight, laplacian_weight))


def draw_steps(count: int, generator: torch.Generator, late_share: float = 0.0) -> Tensor:
    """Time steps 1 … 999, int64 [count]: uniform, but for a share from 900 … 999.

    Until about step 900 the noisy PET itself still tells the mean uptake of a region: thousands
    of voxels share it. Only later must the network read it from the MRI, and uniform steps spend
    a tenth of the training there.

    Args:
        count: how many.
        generator: of the CPU.
        late_share: 0 … 1; the share of steps drawn from 900 … 999 alone.
    """
    steps = torch.randint(1, schedule.STEPS, (count,), generator=generator)
    if late_share == 0:
        return steps
    late = torch.randint(LATE_STEP, schedule.STEPS, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < late_share, late, steps)
