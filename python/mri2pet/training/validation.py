"""The loss on held-out subjects, with the averaged parts and the same noise every time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mri2pet.baselines.networks import NOISE
from mri2pet.config import Config
from mri2pet.diffusion.objective import training_objective
from mri2pet.training.batches import TrainingData
from mri2pet.training.step import autocast

VOLUMES = 24


@torch.no_grad()
def validate(
    modules: Mapping[str, nn.Module],
    dataset: TrainingData,
    pet_mean: float,
    pet_std: float,
    config: Config,
    device: torch.device,
) -> dict[str, float]:
    """Means over up to 24 subjects.

    Args:
        modules: the parts of the run with their averages.

    Returns:
        For diffusion val_loss, val_mse, val_laplacian: the objective, at time steps spread evenly
        over 1 … 999. For a GAN val_loss, the mean absolute error of one drawn PET in units of
        `pet_std`, and val_gap, mean D(x) − mean D(G).
    """
    for module in modules.values():
        module.eval()
    count = min(len(dataset), VOLUMES)
    sums: dict[str, float] = {}
    for i in range(count):
        mri, pet, _ = dataset[i]
        mri, pet = mri[None].to(device), ((pet - pet_mean) / pet_std)[None].to(device)
        generator = torch.Generator().manual_seed(i)
        if config.model.family == "gan":
            terms = _of_gan(modules, mri, pet, generator)
        else:
            t = 1 + round(998 * (i + 0.5) / count)
            terms = _of_diffusion(modules["network"], mri, pet, t, generator, config)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value) / count
    return sums


def _of_diffusion(
    network: nn.Module,
    mri: Tensor,
    pet: Tensor,
    t: int,
    generator: torch.Generator,
    config: Config,
) -> dict[str, Tensor]:
    noise = torch.randn(pet.shape[1:], generator=generator)[None].to(pet.device)
    with autocast(pet.device, config.training.precision):
        objective = training_objective(
            network,
            config.model.prediction,
            mri,
            pet,
            torch.tensor([t], device=pet.device),
            noise,
            config.training.laplacian_weight,
            config.training.snr_clip,
        )
    return {
        "val_loss": objective.total,
        "val_mse": objective.mse,
        "val_laplacian": objective.laplacian,
    }


def _of_gan(
    modules: Mapping[str, nn.Module], mri: Tensor, pet: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    z = torch.randn(1, NOISE, generator=generator).to(pet.device)
    drawn = modules["generator"](z, mri)
    critic = modules["critic"]
    return {
        "val_loss": (drawn - pet).abs().mean(),
        "val_gap": (critic(pet, mri) - critic(drawn, mri)).mean(),
    }
