"""What each stage trains on: MRIs with their targets, and the statistics of those targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.config import Config
from mri2pet.errors import InputError, UsageError
from mri2pet.style.cohort import read_stylized
from mri2pet.training.batches import TrainingData

TargetOf = Callable[[ManifestRow], np.ndarray]


class PretrainingDataset(Dataset):
    """MRIs, with or without a PET, and what the network shall draw of them.

    An item is (mri float32 `[1, K, I, J]` in [0, 1], target float32 `[1, K', I', J']` in [0, 1],
    row name).

    Args:
        cache: the cohort in model space, with the MRIs that have no PET.
        rows: of which MRIs.
        target_of: the target of a row, `[K', I', J']` on the PET grid.
    """

    def __init__(self, cache: CohortCache, rows: list[ManifestRow], target_of: TargetOf) -> None:
        self.cache, self.rows, self.target_of = cache, rows, target_of

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        row = self.rows[index]
        mri, target = (
            torch.from_numpy(np.asarray(kij, dtype=np.float32))[None]
            for kij in (self.cache.mri(row), self.target_of(row))
        )
        return mri, target, row.name


@dataclass(frozen=True)
class StageData:
    """The training and validation part of a stage.

    Attributes:
        rows: of the training MRIs.
        train: the training data set.
        val: the validation data set, or None when pre-training has no target for it.
        mean, std: over all voxels of the training targets: SUVR for PETs, else 0 … 1. For a GAN
            half of their largest voxel both, so that they lie in [−1, 1], where tanh draws.
        provenance: what the targets are, for the model's description.
    """

    rows: list[ManifestRow]
    train: TrainingData
    val: TrainingData | None
    mean: float
    std: float
    provenance: dict[str, Any] = field(default_factory=dict)


def stage_data(config: Config, cache: CohortCache) -> StageData:
    """The data of the stage that the configuration names, standardised by its own target.

    Raises:
        UsageError: the target "stylized" without `data.stylized`.
        InputError: no training pair, or `data.stylized` is of another cohort.
    """
    data = _stage_data(config, cache)
    if config.model.family != "gan":
        return data
    half = max(float(data.train[i][1].max()) for i in range(len(data.train))) / 2
    return replace(data, mean=half, std=half)


def _stage_data(config: Config, cache: CohortCache) -> StageData:
    target = config.training.target
    if target == "pet":
        train, val = (ModelSpaceDataset(cache, split) for split in ("train", "val"))
        return StageData(train.rows, train, val, cache.pet_mean, cache.pet_std, {"target": "pet"})
    rows = {split: cache.rows(split, paired=False) for split in ("train", "val")}
    target_of: TargetOf = cache.mri_on_pet_grid
    provenance: dict[str, Any] = {"target": target}
    if target == "stylized":
        if config.data.stylized is None:
            raise UsageError(
                "pre-training needs PET-like MRIs: give --stylized FOLDER, what mri2pet stylize "
                "wrote, or --ablation no-style"
            )
        made = read_stylized(config.data.stylized, cache)
        done = set(made.done)
        rows = {split: [r for r in of if r.name in done] for split, of in rows.items()}
        provenance["style"] = made.settings

        def target_of(row: ManifestRow) -> np.ndarray:
            return made.volume(row.name)

    if not rows["train"]:
        raise InputError(f"{cache.manifest.root}: the train split has no usable MRI to pre-train.")
    learnt, held = (PretrainingDataset(cache, rows[s], target_of) for s in ("train", "val"))
    mean, std = moments(learnt)
    return StageData(learnt.rows, learnt, held if len(held) else None, mean, std, provenance)


def moments(data: PretrainingDataset) -> tuple[float, float]:
    """Mean and standard deviation over all voxels of all targets, background included."""
    sums = []
    for row in data.rows:
        values = np.asarray(data.target_of(row), dtype=np.float64)
        sums.append((values.size, values.sum(), np.square(values).sum()))
    count, total, squares = (math.fsum(s[i] for s in sums) for i in range(3))
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean * mean, 0.0))
