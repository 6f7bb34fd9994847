"""A GAN's model draws a person's PET, and the sidecar says how."""

from __future__ import annotations

import json

import pytest
import torch

import mri2pet
from mri2pet.baselines.networks import Generator
from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig
from mri2pet.errors import ModelError, UsageError

from .conftest import SHAPE


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    torch.manual_seed(0)
    config = ModelConfig(family="gan", mri_shape=SHAPE, pet_shape=SHAPE)
    folder = tmp_path_factory.mktemp("models") / "generator"
    return save_model(folder, Generator(config), pet_mean=1.0, pet_std=1.0)


@pytest.mark.slow
def test_a_generator_draws_a_pet(generator, head_file, tmp_path):
    options = {"model": generator, "samples": 2, "skull_stripped": True, "device": "cpu"}
    mri2pet.synthesize(head_file, tmp_path, **options)
    (sidecar,) = tmp_path.glob("**/*pet.json")
    told = json.loads(sidecar.read_text())
    assert (told["settings"]["sampler"], told["settings"]["steps"]) == ("generator", 1)
    assert told["model"]["family"] == "gan"
    (again,) = mri2pet.synthesize(head_file, tmp_path, steps=7, **options)
    assert again.status == "skipped"


def test_other_precisions_and_exports_are_refused(generator, head_file, tmp_path):
    with pytest.raises(UsageError, match="precision bf16: the generator of a GAN draws in fp32"):
        mri2pet.synthesize(head_file, tmp_path, model=generator, precision="bf16", device="cpu")
    pytest.importorskip("mri2pet.export")
    from mri2pet.export import export_onnx

    with pytest.raises(ModelError, match="exports are of diffusion models"):
        export_onnx(mri2pet.load_model(generator), tmp_path / "export")
    assert not (tmp_path / "export").exists()
