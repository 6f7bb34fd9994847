"""The PETs that networks read: measured, drawn and the mean ones, by one path to the last bit.

    OUT/measured/<row>.npy · OUT/drawn/<model>/<row>.npy · OUT/cohort_mean/<row>.npy

A network could learn to tell drawn PETs by how they are cut or rounded, and with that who has no
PET, which goes with the diagnosis. So all of them are written here, float16 `[K, I, J]`, SUVR, and
read alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.evaluation.as_paper import slices
from mri2pet.evaluation.metrics import DATA_RANGE_SUVR
from mri2pet.files import written_whole
from mri2pet.imaging.space.model_space import dilate_soft


def as_stored(pet: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """float16 `[K, I, J]`: not below 0, and 0 where the dilated brain ends.

    The soft edge stays as it is: measured PETs have it, and models have learnt it from them.

    Args:
        pet: `[K, I, J]`, SUVR.
        brain: `[K, I, J]`, fraction of each voxel that is brain.
    """
    inside = dilate_soft(np.asarray(brain, dtype=np.float32)) > 0
    return np.where(inside, np.clip(pet, 0, None), 0).astype(np.float16)


def write_pet(path: Path, pet: np.ndarray, cohort: CohortCache, row: ManifestRow) -> None:
    """Writes any PET of a row, whole or not at all."""
    with written_whole(path) as part, part.open("wb") as file:
        np.save(file, as_stored(np.asarray(pet), cohort.brain(row)))


def read_pet(path: Path, *, as_paper: bool) -> np.ndarray:
    """float32 `[K, I, J]` as a network sees it: SUVR / 2.5, or min–max of the volume."""
    stored = np.load(path)
    if as_paper:
        return np.ascontiguousarray(slices(stored))
    return stored.astype(np.float32) / DATA_RANGE_SUVR


def is_current(path: Path, cohort: CohortCache, row: ManifestRow) -> bool:
    """Whether it is there, and no older than the row in model space."""
    try:
        made_from = cohort.root / "rows" / row.name / "row.json"
        return path.stat().st_mtime_ns >= made_from.stat().st_mtime_ns
    except FileNotFoundError:
        return False
