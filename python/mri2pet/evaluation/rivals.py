"""Trivial predictors that a model has to beat, fitted to the training set of a cohort."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.errors import InputError
from mri2pet.files import written_whole
from mri2pet.imaging.space.grid import grid_affine, to_kij, to_xyz
from mri2pet.imaging.space.itk import syn_to_fixed
from mri2pet.imaging.space.model_space import rescale
from mri2pet.imaging.space.volume import Volume


@dataclass(frozen=True)
class Rivals:
    """The training set's means and the linear map.

    Attributes:
        mean_mri: float32 `[K, I, J]` on the MRI grid, in [0, 1].
        mean_pet: float32 `[K, I, J]` on the PET grid, SUVR.
        slope, intercept: SUVR = slope · MRI + intercept inside the brain.
    """

    mean_mri: np.ndarray
    mean_pet: np.ndarray
    slope: float
    intercept: float

    def cohort_mean(self) -> np.ndarray:
        """The mean PET of the training set: float32 `[K, I, J]`, SUVR."""
        return self.mean_pet

    def warped_cohort_mean(self, mri: np.ndarray) -> np.ndarray:
        """The mean PET taken to a subject by registering the mean MRI to the subject's MRI.

        Symmetric normalisation (SyN, Avants et al. 2008) in model space, by ANTs.

        Args:
            mri: `[K, I, J]` in [0, 1] on the MRI grid.

        Returns:
            float32 `[K, I, J]` on the PET grid, SUVR ≥ 0.
        """
        warped = syn_to_fixed(_volume(mri), _volume(self.mean_mri), _volume(self.mean_pet))
        return np.clip(to_kij(warped), 0, None).astype(np.float32)

    def linear_map(self, mri: np.ndarray) -> np.ndarray:
        """The MRI mapped to SUVR: float32 `[K, I, J]` on the PET grid, ≥ 0.

        Args:
            mri: `[K, I, J]` in [0, 1] on the MRI grid.
        """
        on_pet_grid = rescale(mri, self.mean_pet.shape)  # type: ignore[arg-type]
        return np.clip(self.slope * on_pet_grid + self.intercept, 0, None).astype(np.float32)


def kept_warped_mean(rivals: Rivals, mri: np.ndarray, root: Path) -> np.ndarray:
    """`Rivals.warped_cohort_mean`, which takes seconds and is the same for every model: kept.

    Args:
        root: of the cohort in model space.
    """
    parts = (rivals.mean_mri, rivals.mean_pet, np.ascontiguousarray(mri))
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    path = root / "warped_means" / f"{digest[:32]}.npy"
    if not path.is_file():
        warped = rivals.warped_cohort_mean(mri)
        with written_whole(path) as part, part.open("wb") as file:
            np.save(file, warped)
    return np.asarray(np.load(path))


def fit_rivals(cache: CohortCache) -> Rivals:
    """Means and least squares over the training rows; the squares over their brain voxels.

    Raises:
        InputError: the training split has no usable pair.
    """
    rows = cache.rows("train")
    if not rows:
        raise InputError(
            f"{cache.manifest.root}: no training subject with a PET is usable, and the rivals need "
            "some; name their cohort with --training-data."
        )
    mri_sum = np.zeros(cache.mri_shape)
    pet_sum = np.zeros(cache.pet_shape)
    moments = np.zeros(5)
    for row in rows:
        mri, pet = cache.mri(row), cache.pet(row)
        mri_sum += mri
        pet_sum += pet
        brain = cache.brain(row) > 0.5
        x = rescale(mri, cache.pet_shape)[brain].astype(np.float64)
        y = pet[brain].astype(np.float64)
        moments += np.array([x.size, x.sum(), y.sum(), x @ x, x @ y])
    count, sum_x, sum_y, sum_xx, sum_xy = moments
    slope = (count * sum_xy - sum_x * sum_y) / (count * sum_xx - sum_x**2)
    return Rivals(
        mean_mri=(mri_sum / len(rows)).astype(np.float32),
        mean_pet=(pet_sum / len(rows)).astype(np.float32),
        slope=float(slope),
        intercept=float((sum_y - slope * sum_x) / count),
    )


def _volume(kij: np.ndarray) -> Volume:
    k, i, j = kij.shape
    return Volume(to_xyz(kij), grid_affine((k, i, j)))
