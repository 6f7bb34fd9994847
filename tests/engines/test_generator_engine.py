"""A generator's volumes depend on seed, subject and sample alone."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.networks import Generator
from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.engines.sampling import sample, sample_subjects
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.errors import ModelError
from mri2pet.memory import sampling_plan

SHAPE = (16, 32, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    generator = Generator(ModelConfig(family="gan", mri_shape=SHAPE, pet_shape=SHAPE))
    with torch.no_grad():  # the noise shall show
        for block in generator.blocks:
            block.grow.weight *= 6
    folder = tmp_path_factory.mktemp("generator")
    return load_model(save_model(folder, generator, pet_mean=0.8, pet_std=0.8))


@pytest.fixture(scope="module")
def mris():
    return torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_a_volume_does_not_depend_on_those_beside_it(model, mris):
    told = []
    whole = sample_subjects(
        model, mris, [3, 2**64 - 1], samples=2, batch=3, on_step=lambda *step: told.append(step)
    )
    assert whole.shape == (2, 2, 1, *SHAPE)
    assert whole.abs().max() <= 1
    assert told == [(1, 2), (2, 2)]
    alone = sample(model, mris[1:], samples=2, subject=2**64 - 1, sampler="ddpm", steps=3)
    torch.testing.assert_close(alone, whole[1], rtol=1e-5, atol=1e-6)
    volumes = [*whole.flatten(0, 1), sample(model, mris[:1], samples=1, subject=3, seed=1)[0]]
    apart = [(a - b).abs().max() for i, a in enumerate(volumes) for b in volumes[:i]]
    assert min(apart) > 1e-3


def test_it_predicts_no_noise(model):
    volume = torch.zeros(1, 1, *SHAPE)
    with pytest.raises(ModelError, match="is the generator of a GAN"):
        model.predict_noise(volume, torch.ones(1, dtype=torch.int64), volume)
    with pytest.raises(ModelError, match="is the generator of a GAN"):
        TorchEngine(model)


def test_its_memory_is_planned(model):
    plan = sampling_plan(model.config)
    parameters = 4 * sum(p.numel() for p in model.network.parameters())
    assert parameters <= plan.fixed < 1.1 * parameters
    assert plan.peaks[64] > plan.peaks[1] > plan.fixed
