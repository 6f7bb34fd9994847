"""What a configuration leaves open and the machine settles: loader threads and the micro-batch."""

from __future__ import annotations

import math
import os

import torch

from mri2pet.config import Config
from mri2pet.memory import training_plan
from mri2pet.training.distributed import local_size

#: A process on a GPU needs a core for itself and one for what the driver and Python do beside.
SPARE_CORES = 2
#: Of the free memory of a GPU; the rest is for the workspaces of cuDNN, which no plan sees, for
#: what the steps before a CUDA graph leave in torch's cache, and for pictures and validation.
SHARE_OF_MEMORY = 0.5
#: PET voxels at a time on a CPU: one volume of preset `paper`, four of `compact`. A fixed number,
#: so that a run gives the same bits whatever else the machine was doing.
VOXELS_ON_CPU = 2**19


def settled(
    config: Config, device: torch.device, processes: int = 1, before: Config | None = None
) -> Config:
    """The configuration with a number wherever it left one to the machine.

    Results do not depend on these numbers but for rounding: the gradients of a batch are summed
    over its micro-batches, and what a volume holds does not depend on who prepares it.

    Args:
        config: of a run; the batch is a multiple of the processes.
        device: of this process.
        processes: of the run.
        before: what this run was begun with; it keeps its micro-batch, so that one that was
            killed goes on with the same sums.
    """
    data, training = config.data, config.training
    if data.loaders is None:
        data = data.model_copy(update={"loaders": _loaders(device)})
    if training.micro_batch is None:
        kept = before.training.micro_batch if before is not None else None
        share = training.batch_size // processes
        number = kept or _micro_batch(config, device, share)
        training = training.model_copy(update={"micro_batch": number})
    return config.model_copy(update={"data": data, "training": training})


def _loaders(device: torch.device) -> int:
    """Threads that prepare batches: the cores of this process but two; none for a CPU."""
    if device.type == "cpu":
        return 0
    return max(1, _cores() // local_size() - SPARE_CORES)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _micro_batch(config: Config, device: torch.device, share: int) -> int:
    """The most volumes at a time that the device takes, in parts of equal size."""
    if device.type == "cpu":
        most = max(1, VOXELS_ON_CPU // math.prod(config.model.pet_shape))
    else:
        plan = training_plan(config, str(device))
        most = plan.largest_within(int(plan.available * SHARE_OF_MEMORY)) or 1
    return math.ceil(share / math.ceil(share / most))
