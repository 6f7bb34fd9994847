"""A cohort of template brains, made in model space, and a small untrained model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.cohort import cache as cache_module
from mri2pet.cohort.prepare import ModelSpaceSubject
from mri2pet.config import ModelConfig
from mri2pet.imaging.space.model_space import (
    dilate_soft,
    mask_to_model_space,
    rescale,
    to_model_space,
)
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.nn import Network

MRI_SHAPE = (24, 32, 32)
PET_SHAPE = (16, 32, 32)
SUBJECTS = 12


def brain_at(shift_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The template's MRI and its brain fraction on the model grids, shifted along y."""
    move = np.eye(4)
    move[1, 3] = shift_mm
    t1, mask = template(2), template_mask(2)
    mri = to_model_space(t1, move, mask.data, MRI_SHAPE, interpolation="cubic")
    return mri, mask_to_model_space(mask.data, mask.affine, move, PET_SHAPE)


def pet_of(mri: np.ndarray, brain: np.ndarray, level: float) -> np.ndarray:
    """A PET that is a linear function of the MRI: 0.4 + level · MRI, inside the brain."""
    return (0.4 + level * rescale(mri, PET_SHAPE)) * dilate_soft(brain)


def level_of(subject: str) -> float:
    """The slope of a subject's PET: 1.0 to 1.55."""
    return 1.0 + 0.05 * (int(subject[-2:]) - 1)


@pytest.fixture(scope="session")
def anatomy() -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """MRI and brain fraction of two anatomies, by their shift in mm."""
    return {shift: brain_at(shift) for shift in (0.0, 8.0)}


@pytest.fixture
def cohort_root(tmp_path: Path, anatomy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A BIDS folder of 12 subjects whose preparation is replaced by template brains."""
    nibabel = pytest.importorskip("nibabel")
    root = tmp_path / "cohort"
    header_alone = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([10, 10, 10, 1.0]))
    for i in range(1, SUBJECTS + 1):
        subject = f"sub-{i:02d}"
        for kind, suffix in (("anat", "T1w"), ("pet", "trc-AV45_pet")):
            path = root / subject / kind / f"{subject}_{suffix}.nii.gz"
            path.parent.mkdir(parents=True)
            nibabel.save(header_alone, path)
        truth = root / "derivatives" / "truth" / subject / f"{subject}_truth.json"
        truth.parent.mkdir(parents=True)
        truth.write_text(json.dumps({"cortical_suvr": level_of(subject)}))

    def prepare(row, mri_shape, pet_shape, registration, reference):
        mri, brain = anatomy[8.0 * (int(row.subject[-2:]) % 2)]
        return ModelSpaceSubject(mri, brain, pet_of(mri, brain, level_of(row.subject)))

    monkeypatch.setattr(cache_module, "prepare", prepare)
    return root


@pytest.fixture
def cohort_cache(cohort_root: Path):
    """The cohort in model space."""
    return cache_module.build_cache(cohort_root, mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model on disk."""
    torch.manual_seed(0)
    config = ModelConfig(mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE, prediction="v", cond="concat")
    folder = tmp_path_factory.mktemp("model")
    return save_model(folder, Network(config), pet_mean=0.5, pet_std=0.6)
