"""Small configurations of the baselines, on the memory cohort of the training tests."""

from __future__ import annotations

import pytest

from mri2pet.config import Config
from mri2pet.stages import load_config

from ..training.conftest import MemoryCohort

SMALL = (
    "model.mri_shape=[16,32,32]",
    "model.pet_shape=[16,32,32]",
    "training.batch_size=4",
    "training.micro_batch=4",
    "training.volumes=8",
    "training.checkpoint_every=4",
    "training.validate_every=8",
    "training.sample_images=0",
)


@pytest.fixture
def small():
    """Settings of a run → its configuration at 16 × 32 × 32."""

    def make(*settings: str) -> Config:
        return load_config("compact", (*SMALL, *settings))

    return make


@pytest.fixture
def pairs():
    """The training split of six people in memory."""
    from mri2pet.cohort.dataset import ModelSpaceDataset

    return ModelSpaceDataset(MemoryCohort(), "train")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Family → a pre-trained run of one update."""
    from mri2pet.training import train

    folder = tmp_path_factory.mktemp("sources")
    own = {"gan": "training.baseline=gan", "diffusion": "training.ablation=no-style"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mri2pet.training.run.build_cache", lambda *a, **k: MemoryCohort())
        for family, setting in own.items():
            settings = (*SMALL, "training.stage=pretrain", "training.volumes=4", setting)
            train(folder / family, data=folder, settings=settings, device="cpu")
    return {family: folder / family for family in own}
