"""A cohort in memory: bright blobs on the MRI that the PET shows as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SHAPE = (16, 32, 32)
SETTINGS = (
    "model.mri_shape=[16,32,32]",
    "model.pet_shape=[16,32,32]",
    "training.precision=fp32",
    "training.batch_size=2",
    "training.micro_batch=2",
    "training.warmup_volumes=0",
    "training.checkpoint_every=4",
    "training.validate_every=8",
    "training.sample_images=0",
)


@dataclass(frozen=True)
class Row:
    name: str
    truth: None = None
    pet: None = None

    @property
    def subject(self) -> str:
        return self.name


class MemoryCohort:
    """What training asks of a cohort cache, from arrays in memory; three MRIs have no PET."""

    def __init__(self, subjects: int = 8) -> None:
        self.manifest = SimpleNamespace(root="memory", split_by="subject")
        self.root = Path("key")
        self.pet_shape = SHAPE
        self.pet_mean, self.pet_std = 0.4, 0.5
        self._rows = [Row(f"sub-{i:02d}") for i in range(subjects)]
        self._unpaired = [Row(f"sub-{i:02d}") for i in range(subjects, subjects + 3)]

    def rows(self, split, *, paired=True):
        if split == "val":
            return self._rows[-2:]
        return self._rows[:-2] + ([] if paired else self._unpaired)

    def mri(self, row):
        rng = np.random.default_rng(int(row.name[-2:]))
        k, i, j = np.indices(SHAPE)
        centre = rng.uniform([6, 10, 10], [10, 22, 22])
        distance = sum((x - c) ** 2 for x, c in zip((k, i, j), centre, strict=True))
        return np.exp(-distance / 60).astype(np.float16)

    def pet(self, row):
        return self.mri(row) * np.float16(1.5)

    def mri_on_pet_grid(self, row):
        return self.mri(row)


@pytest.fixture
def cohort():
    return MemoryCohort()


@pytest.fixture
def settings():
    return SETTINGS


@pytest.fixture
def memory_cohort(monkeypatch, cohort):
    """`mri2pet.train` finds the cohort in memory, whatever folder it is given."""
    monkeypatch.setattr("mri2pet.training.run.build_cache", lambda *args, **kwargs: cohort)
    return cohort
