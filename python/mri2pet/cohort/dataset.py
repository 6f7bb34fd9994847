"""The cached cohort as a torch data set."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from mri2pet.cohort.cache import CohortCache
from mri2pet.errors import InputError


class ModelSpaceDataset(Dataset):
    """MRI and PET pairs of one split.

    An item is (mri float32 `[1, K, I, J]` in [0, 1], pet float32 `[1, K, I, J]` SUVR, row name
    such as `sub-0001_ses-01`).

    Args:
        cache: the cohort in model space.
        split: `train`, `val`, `test`, or None for all.

    Raises:
        InputError: the split has no usable pair.
    """

    def __init__(self, cache: CohortCache, split: str | None) -> None:
        self.cache = cache
        self.rows = cache.rows(split)
        if not self.rows:
            raise InputError(
                f"{cache.manifest.root}: the {split or 'whole'} split has no usable MRI-PET pair."
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        row = self.rows[index]
        return _tensor(self.cache.mri(row)), _tensor(self.cache.pet(row)), row.name


def _tensor(kij: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(kij, dtype=np.float32))[None]
