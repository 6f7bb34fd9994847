"""One process or many: what `torchrun` started, and the parts that only the first process does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist

from mri2pet.devices import choose_device


@dataclass(frozen=True)
class World:
    """This process among the processes of a run."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Joins the process group that `torchrun` announces in the environment, if it does.

    Args:
        device: "auto", "cpu" or "cuda"; with several processes each takes its local CUDA device.

    Raises:
        UsageError: an unknown device, or CUDA was asked for and torch sees none.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    kind = choose_device(device)
    if size == 1:
        yield World(0, 1, torch.device(kind))
        return
    local = torch.device(kind)
    if kind == "cuda":
        local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size, local)
    finally:
        dist.destroy_process_group()


def local_size() -> int:
    """The processes of the run on this machine, as `torchrun` says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def leave(status: int) -> NoReturn:
    """Ends this process of several at once, after what it wrote is out.

    `DistributedDataParallel` keeps the process group after it is destroyed (torch 2.13). When
    Python ends, a thread of the group that is at work then aborts the process, and a run that is
    whole on the disk would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def sum_over_world(values: torch.Tensor, world: World) -> torch.Tensor:
    """The sum of a small float32 tensor over all processes (itself with one)."""
    if world.size == 1:
        return values
    total = values.to(world.device)
    dist.all_reduce(total)
    return total.cpu()


@torch.no_grad()
def average_over_world(tensors: Sequence[torch.Tensor], world: World) -> None:
    """Each tensor becomes its mean over all processes, by one exchange for all of them."""
    if world.size == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world.size
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
