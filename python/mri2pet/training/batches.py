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
from mri2pet.training.augmentation import augment

_ORDER, _CONTENT = 1, 2


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


class BatchSource(Protocol):
    """Gives the volumes first … first + count − 1 of a run."""

    def batch(self, first: int, count: int) -> Batch: ...


def _generator(seed: int, purpose: int, n: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 4 + purpose) * 2**40 + n)


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
