"""DDPM-PA: a diffusion model is adapted while the likeness among its predictions is kept.

Zhu et al., "Few-shot image generation with diffusion models", 2022. The network, the schedule and
the samplers are the package's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mri2pet.baselines.base import Family, Pairs, Phase
from mri2pet.baselines.own import Diffusion
from mri2pet.baselines.pairwise import consistency, high_frequency
from mri2pet.config import Config
from mri2pet.diffusion import schedule

if TYPE_CHECKING:
    from mri2pet.baselines.draws import Draws


class DDPMPA(Diffusion):
    """Needs a pre-trained diffusion model and compares volumes, so at least 4 at a time.

    In the published baseline the two networks draw t and noise apart.
    """

    source: Family | None = "diffusion"
    least = 4
    settings: Mapping[str, dict[str, Any]] = {
        "finetune": {"training": {"micro_batch": 16, "laplacian_weight": 0.0}}
    }
    authors_settings: Mapping[str, Any] = {"baseline": {"pairwise": 0.5, "high_pairwise": 0.5}}

    def loss(
        self,
        phase: Phase,
        parts: Mapping[str, nn.Module],
        sources: Mapping[str, nn.Module],
        batch: Pairs,
        draws: Draws,
        config: Config,
    ) -> dict[str, Tensor]:
        """mse + w₁ C(x̃_s, x̃_t) + w₂ C(H x̃_s, H x̃_t) + w₃ mean (H x̃_t − H x_0)²."""
        weights, as_authors = config.baseline, config.baseline.as_authors
        prediction = config.model.prediction
        mri = draws.noisy(batch.mri) if as_authors else batch.mri
        of_source = _drawn_apart(draws, batch) if as_authors else (batch.t, batch.noise)
        x_0, t, noise = batch.pet, batch.t, batch.noise
        output, x_t = _predicted(parts["network"], prediction, mri, x_0, t, noise)
        with torch.no_grad():
            _, x_s = _predicted(sources["network"], prediction, mri, x_0, *of_source)
        target = noise if prediction == "epsilon" else schedule.velocity(x_0, noise, t)
        mse = (output - target).square().mean()

        def high(volumes: Tensor) -> Tensor:
            return high_frequency(volumes, as_authors=as_authors)

        bound = _share_of_weight(prediction, t, config.training.snr_clip)
        high_mse = (bound * (high(x_t) - high(x_0)).square().mean((1, 2, 3, 4))).mean()
        pairwise = consistency(x_s, x_t, as_authors=as_authors)
        high_pairwise = consistency(high(x_s), high(x_t), as_authors=as_authors)
        loss = (
            mse
            + weights.pairwise * pairwise
            + weights.high_pairwise * high_pairwise
            + weights.high_mse * high_mse
        )
        return {
            "loss": loss,
            "mse": mse,
            "pairwise": pairwise,
            "high_pairwise": high_pairwise,
            "high_mse": high_mse,
        }


def _predicted(
    network: nn.Module, prediction: str, mri: Tensor, x_0: Tensor, t: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """What a network says of x_t, in float32, and x̃_0 from it."""
    x_t = schedule.add_noise(x_0, noise, t)
    output = network(x_t, t, mri).float()
    predicted_noise = schedule.noise_from_output(prediction, x_t, output, t)
    return output, schedule.x0_from_noise(x_t, predicted_noise, t)


def _share_of_weight(prediction: str, t: Tensor, snr_clip: float | None) -> Tensor:
    """What `snr_clip` leaves of a volume's weight in terms of x̃_0, (1 − ᾱ)/ᾱ for ε and 1 − ᾱ for
    v; 1 where it is below, [B]."""
    a = schedule.alpha_bar_at(t)
    weight = (1 - a) / a if prediction == "epsilon" else 1 - a
    return torch.ones_like(weight) if snr_clip is None else (snr_clip / weight).clamp(max=1)


def _drawn_apart(draws: Draws, batch: Pairs) -> tuple[Tensor, Tensor]:
    """The source's own t and noise."""
    t = draws.integers("t of the source", 1, schedule.STEPS)
    return t, draws.normal("noise of the source", *batch.pet.shape[1:])


BASELINE = DDPMPA()
