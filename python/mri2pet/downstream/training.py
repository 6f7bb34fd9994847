"""One network of one seed: who holds out, how it learns, when it stops, what it predicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mri2pet.devices import whole_float32
from mri2pet.downstream.networks import Predictor, classifier, regressor
from mri2pet.downstream.pets import read_pet
from mri2pet.downstream.settings import MMSE_MIN, Task
from mri2pet.errors import Mri2petError
from mri2pet.randomness import random_of, torch_seed

HELD_OUT = 0.2
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Sample:
    """A scan as a network gets it.

    Attributes:
        name, subject: of the row.
        label: number of its class, or MMSE.
        mri, pet: float16 `[K, I, J]` in .npy files; None for what is not there.
        drawn: of a test scan, the PET that the model drew for it.
        age: years; None where unknown.
        sex: "F" or "M"; None where unknown.
    """

    name: str
    subject: str
    label: float
    mri: Path
    pet: Path | None = None
    drawn: Path | None = None
    age: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Fit:
    """How a network learns: the authors' numbers.

    `patience`: epochs without a lower loss of those held out. `micro_batch`: scans in memory at
    once. `class_weights`: "balanced" by the training part.
    """

    epochs: int = 100
    patience: int = 5
    batch: int = 128
    micro_batch: int = 8
    lr: float = 1e-4
    class_weights: ClassWeights = "none"


@dataclass(frozen=True)
class Learnt:
    """A network with its best epoch's weights.

    `held_out_loss` is of every epoch, `best_epoch` counts from 1.
    """

    network: Predictor
    best_epoch: int
    held_out_loss: list[float]


def divide(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """Four fifths to learn from and a fifth to stop by, people as the unit.

    A person's place depends on the seed and the name alone, so that two settings of one seed
    agree on whoever is in both.

    Raises:
        ValueError: fewer than two people.
    """
    people = sorted({s.subject for s in samples}, key=lambda name: (_place(seed, name), name))
    if len(people) < 2:
        raise ValueError("to divide, two people are needed")
    held = set(people[-max(1, round(HELD_OUT * len(people))) :])
    return (
        [s for s in samples if s.subject not in held],
        [s for s in samples if s.subject in held],
    )


def permute_labels(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Every person with the label of a person drawn at random, so that none tells of its scans.

    People keep together: all scans of one have the label of the other's first. As many people
    have each label as before.
    """
    labels: dict[str, float] = {}
    for sample in samples:
        labels.setdefault(sample.subject, sample.label)
    people = sorted(labels)
    order = random_of("permuted labels", seed).permutation(len(people))
    given = {person: labels[people[i]] for person, i in zip(people, order, strict=True)}
    return [replace(sample, label=given[sample.subject]) for sample in samples]


def _place(seed: int, name: str) -> float:
    return float(random_of("downstream", seed, name).random())


def learn(
    samples: Sequence[Sample],
    inputs: Sequence[str],
    task: Task,
    fit: Fit,
    key: tuple[int, str],
    *,
    as_paper: bool = False,
    device: str = "cpu",
) -> Learnt:
    """Trains a network until those held out get no better.

    On a CPU with one thread it is a function of its arguments, bit by bit.

    Args:
        inputs: `mri`, `pet` or both.
        key: seed, and the setting's name.

    Raises:
        Mri2petError: the loss is not finite.
    """
    seed = key[0]
    part, held = divide(samples, seed)
    loss_of = _loss(task, class_weights(part, task, fit.class_weights))
    network = new_network(samples[0], inputs, task, key).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=fit.lr)

    def loss_and_weight(some: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        outputs = network(read(some, inputs, as_paper=as_paper, device=device))
        labels = torch.tensor([s.label for s in some], dtype=torch.float32, device=device)
        return loss_of(outputs, labels)

    losses: list[float] = []
    best, kept = 0, copy.deepcopy(network.state_dict())
    with whole_float32():
        for epoch in range(1, fit.epochs + 1):
            order = random_of(seed, "order", epoch).permutation(len(part))
            for batch in _parts([part[i] for i in order], fit.batch):
                _update(optimiser, batch, fit.micro_batch, loss_and_weight)
            losses.append(_held_out_loss(held, fit.micro_batch, loss_and_weight))
            if not math.isfinite(losses[-1]):
                raise Mri2petError(
                    f"{key[1]}, seed {seed}: the loss is not finite in epoch {epoch}; look for "
                    "images with extreme values"
                )
            if losses[-1] < min(losses[:-1], default=math.inf):
                best, kept = epoch, copy.deepcopy(network.state_dict())
            elif epoch - best >= fit.patience:
                break
    network.load_state_dict(kept)
    return Learnt(network, best, losses)


LossAndWeight = Callable[[Sequence[Sample]], tuple[Tensor, Tensor]]


def _update(
    optimiser: torch.optim.Optimizer, batch: Sequence[Sample], at_once: int, of: LossAndWeight
) -> None:
    """One step by the weighted mean loss of a batch, its gradients added up part by part."""
    optimiser.zero_grad()
    total = 0.0
    for some in _parts(batch, at_once):
        loss, weight = of(some)
        loss.backward()
        total += float(weight)
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad /= max(total, 1e-12)
    optimiser.step()


@torch.no_grad()
def _held_out_loss(held: Sequence[Sample], at_once: int, of: LossAndWeight) -> float:
    pairs = [of(some) for some in _parts(held, at_once)]
    loss, weight = (sum(float(pair[i]) for pair in pairs) for i in (0, 1))
    return loss / max(weight, 1e-12)


def _parts(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def class_weights(part: Sequence[Sample], task: Task, kind: ClassWeights) -> list[float]:
    """One for each class: all 1, or scans / (classes · scans of the class) of these samples."""
    if kind == "none" or not task.classes:
        return [1.0] * len(task.classes)
    counts = np.bincount([int(s.label) for s in part], minlength=len(task.classes))
    return [len(part) / (len(counts) * max(int(count), 1)) for count in counts]


def _loss(task: Task, weights: list[float]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(outputs, labels) → the sum of weighted losses, and the sum of weights."""

    def of(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not task.classes:
            losses = (outputs[:, 0] - (labels - MMSE_MIN)) ** 2
            return losses.sum(), torch.ones_like(losses).sum()
        of_class = torch.tensor(weights, device=outputs.device)[labels.long()]
        if len(task.classes) == 2:
            losses = functional.binary_cross_entropy_with_logits(
                outputs[:, 0], labels, reduction="none"
            )
        else:
            losses = functional.cross_entropy(outputs, labels.long(), reduction="none")
        return (of_class * losses).sum(), of_class.sum()

    return of


def new_network(like: Sample, inputs: Sequence[str], task: Task, key: tuple[int, str]) -> Predictor:
    """As torch initialises it, by the seed, the setting and the task alone."""
    shapes = {name: _shape_of(like, name) for name in inputs}
    outputs = len(task.classes) if len(task.classes) > 2 else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed("downstream", *key, task.key))
        return classifier(shapes, outputs) if task.classes else regressor(shapes)


def _shape_of(sample: Sample, name: str) -> tuple[int, int, int]:
    k, i, j = np.load(_path(sample, name), mmap_mode="r").shape
    return k, i, j


def _path(sample: Sample, name: str) -> Path:
    path = sample.mri if name == "mri" else sample.pet
    if path is None:
        raise ValueError(f"{sample.name}: has no {name}")
    return path


def read(
    samples: Sequence[Sample], inputs: Sequence[str], *, as_paper: bool, device: str
) -> dict[str, Tensor]:
    """`mri`, `pet` → float32 [B, 1, K, I, J]."""
    found = {}
    for name in inputs:
        paths = [_path(sample, name) for sample in samples]
        arrays = [
            np.load(path).astype(np.float32) if name == "mri" else read_pet(path, as_paper=as_paper)
            for path in paths
        ]
        found[name] = torch.from_numpy(np.stack(arrays)[:, None]).to(device)
    return found


@torch.inference_mode()
def predict(
    network: Predictor,
    samples: Sequence[Sample],
    inputs: Sequence[str],
    task: Task,
    *,
    as_paper: bool = False,
    device: str = "cpu",
    at_once: int = 8,
) -> np.ndarray:
    """Probabilities [n, classes], or MMSE [n]."""
    found = []
    with whole_float32():
        for some in _parts(samples, at_once):
            found.append(network(read(some, inputs, as_paper=as_paper, device=device)).cpu())
    outputs = torch.cat(found).double()
    if not task.classes:
        return np.asarray(outputs[:, 0] + MMSE_MIN)
    if len(task.classes) == 2:
        p = outputs[:, 0].sigmoid()
        return np.asarray(torch.stack([1 - p, p], dim=1))
    return np.asarray(outputs.softmax(dim=1))
