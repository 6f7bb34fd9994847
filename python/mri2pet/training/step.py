"""One update: each phase's accumulated gradients, clipping and Adam, then the moving averages."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mri2pet.baselines import is_baseline, method_of
from mri2pet.baselines.base import Phase
from mri2pet.baselines.draws import Draws
from mri2pet.config import Config
from mri2pet.errors import Mri2petError
from mri2pet.randomness import torch_seed
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
    """One update over `batch_size` volumes, shared among the processes, a micro-batch at a time.

    In each phase of the method one part learns and the others are frozen; the phases of an update
    see the same volumes. Gradients travel once a phase. In fp16 they are scaled on their way, and
    a step whose gradients overflow changes no parameter: the next one is scaled less. A GPU is
    waited for once, at the end.

    Returns:
        loss and its terms (means over the batch), grad_norm before clipping, and lr. What a later
        phase says stands behind the name of its part, e.g. generator_loss.

    Raises:
        Mri2petError: the loss is not finite; names the volumes. The state is spoilt then.
    """
    phases = method_of(config).phases(state.updates, config)
    share = _Share(state, batches, config, world, kept=len(phases) > 1)
    turns = [_turn(phase, share) for phase in phases]
    for part in state.parts.values():
        part.share_statistics(world)
    lr = learning_rate(config, state.volumes)
    state.updates += 1
    state.volumes += config.training.batch_size
    state.update_averages()
    return {**_facts(turns, config.training.batch_size, world), "lr": lr}


class _Share:
    """What one process does in an update.

    Args:
        kept: several phases see the micro-batches, so they are made once and kept.
    """

    def __init__(
        self,
        state: TrainingState,
        batches: BatchSource,
        config: Config,
        world: World,
        *,
        kept: bool,
    ) -> None:
        self.state, self.config, self.world = state, config, world
        self.volumes = config.training.batch_size // world.size
        self.end = state.volumes + self.volumes * (world.rank + 1)
        self.pairs = batches.pairs
        self._source = batches
        self._kept: dict[int, Batch] | None = {} if kept else None

    def places(self) -> list[tuple[int, int]]:
        """(first volume, volumes) of each micro-batch."""
        at_once = self.config.training.at_once(self.volumes)
        starts = range(self.end - self.volumes, self.end, at_once)
        return [(first, min(at_once, self.end - first)) for first in starts]

    def batch(self, first: int, count: int) -> Batch:
        if self._kept is None:
            return self._source.batch(first, count)
        if first not in self._kept:
            self._kept[first] = self._source.batch(first, count)
        return self._kept[first]


@dataclass
class _Turn:
    """What one phase did: its loss's terms of every micro-batch, on the device."""

    phase: Phase
    names: tuple[str, ...] = ()
    terms: list[Tensor] = field(default_factory=list)
    volumes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    norm: Tensor = field(default_factory=lambda: torch.zeros(()))


def _turn(phase: Phase, share: _Share) -> _Turn:
    """The phase's part learns from every micro-batch."""
    state, config, world = share.state, share.config, share.world
    for name, other in state.parts.items():
        other.module.train().requires_grad_(name == phase.part)
    part = state.parts[phase.part]
    part.clear_gradients()
    turn = _Turn(phase)
    for first, count in share.places():
        batch = share.batch(first, count)
        turn.volumes[first] = batch.names

        work = functools.partial(_add_gradients, phase, share, first, count)
        # The processes' gradients are averaged, so each weighs its volumes by their number.
        weight = count / share.volumes
        with part.synchronised(first + count == share.end):
            if part.graph is None:
                turn.terms.append(work(batch.to(world.device), weight))
            else:
                turn.terms.append(part.graph.add(batch, weight, work))
    lr = learning_rate(config, state.volumes)
    turn.norm = part.update(lr, config.training.grad_clip, world)
    turn.names = part.terms
    return turn


def _add_gradients(
    phase: Phase, share: _Share, first: int, count: int, batch: Batch, weight: float
) -> Tensor:
    """Adds the gradients of weight · loss; returns the loss and its terms, on the device."""
    state, config = share.state, share.config
    training, device = config.training, batch.mri.device
    if is_baseline(config):  # it may have dropout, whose numbers come from here
        torch.manual_seed(torch_seed(training.seed, "dropout", phase.part, first))
    with autocast(device, training.precision):
        terms = method_of(config).loss(
            phase,
            {name: part.forward for name, part in state.parts.items()},
            state.sources,
            batch,
            Draws(training.seed, phase.part, first, count, share.pairs, device),
            config,
        )
    state.parts[phase.part].terms = tuple(terms)
    state.parts[phase.part].scaler.scale(terms["loss"] * weight).backward()
    return torch.stack(list(terms.values())).detach()


def _facts(turns: list[_Turn], batch_size: int, world: World) -> dict[str, float]:
    """The means over the batch, read from the device together.

    Raises:
        Mri2petError: a term is not finite.
    """
    sizes = [size for turn in turns for size in (*(len(t) for t in turn.terms), 1)]
    tensors = [tensor for turn in turns for tensor in (*turn.terms, turn.norm[None])]
    read = iter(torch.cat(tensors).cpu().split(sizes))
    facts: dict[str, float] = {}
    for place, turn in enumerate(turns):
        sums = _weighted_sum([next(read) for _ in turn.terms], turn.volumes, batch_size)
        values = [*sum_over_world(sums, world).tolist(), float(next(read))]
        behind = f"{turn.phase.part}_" if place else ""
        names = [behind + name for name in (*turn.names, "grad_norm")]
        facts |= dict(zip(names, values, strict=True))
    return facts


def _weighted_sum(
    terms: list[Tensor], names: dict[int, tuple[str, ...]], batch_size: int
) -> Tensor:
    """This process's share of the batch's mean terms, float32.

    Args:
        terms: of every micro-batch, on the CPU.
        names: the number of its first volume → what its volumes are called.

    Raises:
        Mri2petError: a term is not finite.
    """
    sums = torch.zeros_like(terms[0])
    for part, (first, called) in zip(terms, names.items(), strict=True):
        sums += part * (len(called) / batch_size)
        if not torch.isfinite(sums).all():
            raise Mri2petError(
                f"the loss is not finite at volume {first} ({', '.join(called)}); "
                "look at these scans or lower training.lr"
            )
    return sums
