"""The loss on held-out subjects, with the averaged parameters and the same noise every time."""

from __future__ import annotations

import torch

from mri2pet.config import Config
from mri2pet.diffusion.objective import training_objective
from mri2pet.nn import Network
from mri2pet.training.batches import TrainingData
from mri2pet.training.step import autocast

VOLUMES = 24


@torch.no_grad()
def validate(
    network: Network,
    dataset: TrainingData,
    pet_mean: float,
    pet_std: float,
    config: Config,
    device: torch.device,
) -> dict[str, float]:
    """Mean objective over up to 24 subjects, at time steps spread evenly over 1 … 999.

    Returns:
        val_loss, val_mse, val_laplacian.
    """
    network.eval()
    count = min(len(dataset), VOLUMES)
    sums = torch.zeros(3)
    for i in range(count):
        mri, pet, _ = dataset[i]
        generator = torch.Generator().manual_seed(i)
        noise = torch.randn(pet.shape, generator=generator)[None].to(device)
        t = torch.tensor([1 + round(998 * (i + 0.5) / count)], device=device)
        with autocast(device, config.training.precision):
            objective = training_objective(
                network,
                config.model.prediction,
                mri[None].to(device),
                ((pet - pet_mean) / pet_std)[None].to(device),
                t,
                noise,
                config.training.laplacian_weight,
                config.training.snr_clip,
            )
        terms = torch.stack((objective.total, objective.mse, objective.laplacian))
        sums += terms.cpu() / count
    return dict(zip(("val_loss", "val_mse", "val_laplacian"), sums.tolist(), strict=True))
