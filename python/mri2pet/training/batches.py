"""Which volume, variation, time step and noise the n-th training volume gets.

All is a function of (seed, n), so a run that was killed goes on with the same numbers, and no
random state has to be saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mri2pet.diffusion.objective import draw_steps
from mri2pet.randomness import torch_seed
from mri2pet.training.augmentation import augment

_ORDER, _CONTENT = "order", "content"


class TrainingData(Protocol):
    """A data set whose items are (mri [1, K, I, J], target [1, K', I', J'], name)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]: ...


@dataclass(frozen=True)
class Batch:
    """mri, pet (standardised), noise [B, 1, K, I, J]; t int64 [B]; names of the volumes."""

    mri: Tensor
    pet: Tensor
    noise: Tensor
    t: Tensor
    names: tuple[str, ...]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.mri, self.pet, self.noise, self.t

    def to(self, device: torch.device) -> Batch:
        """The batch on the device; volumes channels-last."""

        def move(volumes: Tensor) -> Tensor:
            return volumes.to(device, memory_format=torch.channels_last_3d, non_blocking=True)

        t = self.t.to(device, non_blocking=True)
        return Batch(move(self.mri), move(self.pet), move(self.noise), t, self.names)

    def clone(self) -> Batch:
        """The same in memory of its own."""
        mri, pet, noise, t = (tensor.clone() for tensor in self.tensors())
        return Batch(mri, pet, noise, t, self.names)

    def copy_(self, other: Batch) -> None:
        """Takes the values of a batch of the same size; the names stay."""
        for own, given in zip(self.tensors(), other.tensors(), strict=True):
            own.copy_(given, non_blocking=True)


class BatchSource(Protocol):
    """Gives the volumes first … first + count − 1 of a run, of so many training pairs."""

    @property
    def pairs(self) -> int: ...

    def batch(self, first: int, count: int) -> Batch: ...


def _generator(seed: int, purpose: str, n: int) -> torch.Generator:
    return torch.Generator().manual_seed(torch_seed(seed, purpose, n))


class TrainingBatches:
    """Endless training volumes in random order, every subject once an epoch.

    Args:
        dataset: the training split in model space, items (mri, target, name).
        pet_mean, pet_std: standardisation, in the unit of the targets.
        seed: names the order and everything drawn.
        augmented: whether to vary each pair.
        late_share: share of the volumes whose time step is a late one, see `draw_steps`.
    """

    def __init__(
        self,
        dataset: TrainingData,
        pet_mean: float,
        pet_std: float,
        seed: int,
        augmented: bool,
        late_share: float = 0.0,
    ) -> None:
        self.dataset = dataset
        self.pet_mean, self.pet_std = pet_mean, pet_std
        self.seed = seed
        self.augmented = augmented
        self.late_share = late_share

    @property
    def pairs(self) -> int:
        return len(self.dataset)

    def index(self, n: int) -> int:
        """The data set's index of the n-th volume."""
        epoch, place = divmod(n, len(self.dataset))
        order = torch.randperm(len(self.dataset), generator=_generator(self.seed, _ORDER, epoch))
        return int(order[place])

    def batch(self, first: int, count: int) -> Batch:
        """The volumes first … first + count − 1 of the run."""
        items = [self._item(n) for n in range(first, first + count)]
        mri, pet, noise, t, names = zip(*items, strict=True)
        return Batch(
            torch.stack(mri), torch.stack(pet), torch.stack(noise), torch.cat(t), tuple(names)
        )

    def _item(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor, str]:
        mri, pet, name = self.dataset[self.index(n)]
        generator = _generator(self.seed, _CONTENT, n)
        if self.augmented:
            mri, pet = augment(mri, pet, generator)
        t = draw_steps(1, generator, self.late_share)
        noise = torch.randn(pet.shape, generator=generator)
        return mri, (pet - self.pet_mean) / self.pet_std, noise, t, name
