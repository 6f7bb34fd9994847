"""One optimiser step: accumulated gradients, clipping, Adam, the moving average."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from mri2pet.config import Config
from mri2pet.diffusion.objective import training_objective
from mri2pet.errors import Mri2petError
from mri2pet.training.batches import Batch, BatchSource
from mri2pet.training.distributed import World, sum_over_world
from mri2pet.training.state import TrainingState


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a precision: fp32, bf16 or fp16."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


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
    state: TrainingState, batches: BatchSource, config: Config, world: World
) -> dict[str, float]:
    """One step over `batch_size` volumes, shared among the processes, a micro-batch at a time.

    Gradients travel once a step, with the last micro-batch. In fp16 they are scaled on their way,
    and a step whose gradients overflow changes no parameter: the next one is scaled less. A GPU is
    waited for once, at the end.

    Returns:
        loss, mse and laplacian (means over the batch), grad_norm before clipping, and lr.

    Raises:
        Mri2petError: the loss is not finite; names the volumes. The state is spoilt then.
    """
    training = config.training
    state.network.train()
    state.clear_gradients()
    share = training.batch_size // world.size
    end = state.volumes + share * (world.rank + 1)
    names: dict[int, tuple[str, ...]] = {}
    terms = []
    work = functools.partial(_add_gradients, state, config)
    at_once = training.at_once(share)
    for first in range(end - share, end, at_once):
        count = min(at_once, end - first)
        batch = batches.batch(first, count)
        names[first] = batch.names
        with state.synchronised(first + count == end):
            # The processes' gradients are averaged, so each weighs its volumes by their number.
            weight = count / share
            if state.graph is None:
                terms.append(work(batch.to(world.device), weight))
            else:
                terms.append(state.graph.add(batch, weight, work))
    state.scaler.unscale_(state.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), training.grad_clip)
    lr = learning_rate(config, state.volumes)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.updates += 1
    state.volumes += training.batch_size
    state.update_average()
    *terms, norm = torch.cat((*terms, norm[None])).cpu().split(3)
    sums = _weighted_sum(terms, names, training.batch_size)
    loss, mse, laplacian = sum_over_world(sums, world).tolist()
    return {
        "loss": loss,
        "mse": mse,
        "laplacian": laplacian,
        "grad_norm": float(norm),
        "lr": lr,
    }


def _weighted_sum(
    terms: list[Tensor], names: dict[int, tuple[str, ...]], batch_size: int
) -> Tensor:
    """This process's share of the batch's mean terms, float32 [3].

    Args:
        terms: of every micro-batch, [3] on the CPU.
        names: the number of its first volume → what its volumes are called.

    Raises:
        Mri2petError: a term is not finite.
    """
    sums = torch.zeros(3)
    for part, (first, called) in zip(terms, names.items(), strict=True):
        sums += part * (len(called) / batch_size)
        if not torch.isfinite(sums).all():
            raise Mri2petError(
                f"the loss is not finite at volume {first} ({', '.join(called)}); "
                "look at these scans or lower training.lr"
            )
    return sums


def _add_gradients(state: TrainingState, config: Config, batch: Batch, weight: float) -> Tensor:
    """Adds the gradients of weight · loss; returns loss, mse and laplacian, [3] on the device."""
    with autocast(batch.mri.device, config.training.precision):
        objective = training_objective(
            state.forward,
            config.model.prediction,
            batch.mri,
            batch.pet,
            batch.t,
            batch.noise,
            config.training.laplacian_weight,
            config.training.snr_clip,
        )
    state.scaler.scale(objective.total * weight).backward()
    return torch.stack((objective.total, objective.mse, objective.laplacian)).detach()
