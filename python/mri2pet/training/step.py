"""One optimiser step: accumulated gradients, clipping, Adam, the moving average."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mri2pet.config import Config
from mri2pet.diffusion.objective import training_objective
from mri2pet.errors import Mri2petError
from mri2pet.training.batches import Batch, TrainingBatches
from mri2pet.training.state import TrainingState


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device; volumes channels-last."""

    def move(volumes: Tensor) -> Tensor:
        return volumes.to(device, memory_format=torch.channels_last_3d)

    return Batch(
        move(batch.mri), move(batch.pet), move(batch.noise), batch.t.to(device), batch.names
    )


def learning_rate(config: Config, volumes: int) -> float:
    """The rate at a point of the run: linear warm-up, then constant or cosine to zero."""
    training = config.training
    if volumes < training.warmup_volumes:
        return training.lr * (volumes + 1) / training.warmup_volumes
    if training.lr_schedule == "constant":
        return training.lr
    length = max(training.volumes - training.warmup_volumes, 1)
    done = min((volumes - training.warmup_volumes) / length, 1.0)
    return training.lr * 0.5 * (1 + math.cos(math.pi * done))


def training_step(
    state: TrainingState, batches: TrainingBatches, config: Config, device: torch.device
) -> dict[str, float]:
    """One step over `batch_size` volumes, `micro_batch` at a time.

    Returns:
        loss, mse and laplacian (means over the batch), grad_norm before clipping, and lr.

    Raises:
        Mri2petError: the loss is not finite; names the volumes.
    """
    training = config.training
    state.network.train()
    state.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(3)
    for offset in range(0, training.batch_size, training.micro_batch):
        count = min(training.micro_batch, training.batch_size - offset)
        batch = to_device(batches.batch(state.volumes + offset, count), device)
        with autocast(device, training.precision):
            objective = training_objective(
                state.network,
                config.model.prediction,
                batch.mri,
                batch.pet,
                batch.t,
                batch.noise,
                training.laplacian_weight,
            )
        share = count / training.batch_size
        (objective.total * share).backward()
        terms = torch.stack((objective.total, objective.mse, objective.laplacian))
        sums += terms.detach().cpu() * share
        if not torch.isfinite(sums).all():
            raise Mri2petError(
                f"the loss is not finite at volume {state.volumes + offset} "
                f"({', '.join(batch.names)}); look at these scans or lower training.lr"
            )
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), training.grad_clip)
    lr = learning_rate(config, state.volumes)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    state.updates += 1
    state.volumes += training.batch_size
    state.update_average()
    loss, mse, laplacian = sums.tolist()
    return {
        "loss": loss,
        "mse": mse,
        "laplacian": laplacian,
        "grad_norm": float(norm),
        "lr": lr,
    }
