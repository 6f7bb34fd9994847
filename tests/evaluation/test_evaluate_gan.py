"""A GAN's model is evaluated like any other, without a sampler, under its name in the paper."""

from __future__ import annotations

import json

import pytest
import torch

from mri2pet.baselines.networks import Generator
from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig
from mri2pet.evaluation.evaluate import evaluate
from mri2pet.evaluation.settings import Sampling

from .conftest import MRI_SHAPE, PET_SHAPE


@pytest.fixture(scope="module")
def gan_folder(tmp_path_factory):
    """An untrained generator on disk."""
    torch.manual_seed(0)
    config = ModelConfig(family="gan", mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE)
    trained = {"config": {"training": {"baseline": "maskgan", "ablation": "none"}}}
    folder = tmp_path_factory.mktemp("gan")
    return save_model(folder, Generator(config), pet_mean=1.0, pet_std=1.0, provenance=trained)


def test_a_gan_is_evaluated_and_named(gan_folder, cohort_root, tmp_path):
    out = tmp_path / "out"
    # Neither of them is of this family: they are passed over.
    sampling = Sampling(samples=2, sampler="ddim", steps=999, batch=1)
    options = {"data": cohort_root, "split": "all", "limit": 1}
    found = evaluate(gan_folder, out=out, sampling=sampling, device="cpu", **options)
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["sampler"], settings["steps"]) == ("generator", 1)
    assert settings["ablation"] == "maskgan"
    assert "MaskGAN: one sample" in found.table
    assert "MaskGAN: mean of 2" in found.table
    evaluate(gan_folder, out=out, sampling=Sampling(samples=2), device="cpu", **options)
