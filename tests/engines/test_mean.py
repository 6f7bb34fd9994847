"""The mean of samples has the level that a linear denoiser expects, and is theirs elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import Model
from mri2pet.config import ModelConfig
from mri2pet.engines.choose import engine_of
from mri2pet.engines.ensemble import Ensemble
from mri2pet.engines.mean import drawn_in_suvr, mean_of_samples
from mri2pet.engines.sampling import sample_subjects
from mri2pet.nn import Network

SHAPE = (16, 32, 32)
VOXELS = 16 * 32 * 32


def engine(seed: int, components: int, mean: float = 1.2, deviation: float = 0.5):
    torch.manual_seed(seed)
    config = ModelConfig(
        mri_shape=SHAPE,
        pet_shape=SHAPE,
        prediction="v",
        cond="concat",
        linear_components=components,
    )
    network = Network(config).eval()
    if components:
        people = torch.Generator().manual_seed(seed)
        levels = torch.randn(80, 1, generator=people)
        volumes = torch.randn(80, VOXELS, generator=people) + levels * torch.linspace(-1, 1, VOXELS)
        network.linear.fit(volumes, torch.rand(80, VOXELS, generator=people))
    return engine_of(Model(network, config, mean, deviation, f"m{seed}", sha256=f"{seed}" * 64))


@pytest.fixture(scope="module")
def mris() -> torch.Tensor:
    return torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0))


def draws(count: int) -> torch.Tensor:
    return torch.randn(2, count, 1, *SHAPE, generator=torch.Generator().manual_seed(1))


def along(of, volumes: torch.Tensor) -> torch.Tensor:
    """[N, 1, K, I, J] along the directions of an engine, [N, P]."""
    return volumes.flatten(1) @ of._whole.linear.directions.T


def expected(of, mris: torch.Tensor) -> torch.Tensor:
    return of._whole.expected(of._whole.guide(mris))


@torch.inference_mode()
def test_it_is_the_expected_pet_along_the_directions_and_the_samples_elsewhere(mris):
    one, volumes = engine(3, components=2), draws(4)
    mean, plain = mean_of_samples(one, mris, volumes), volumes.mean(1)
    torch.testing.assert_close(along(one, mean), along(one, expected(one, mris)))
    assert (along(one, plain) - along(one, mean)).abs().max() > 1
    rest = mean - plain
    others = rest.flatten(1) - along(one, rest) @ one._whole.linear.directions
    assert others.abs().max() < 1e-4


def test_it_does_not_depend_on_the_levels_that_were_drawn(mris):
    one, volumes = engine(3, components=1), draws(4)
    moved = volumes + 7 * one._whole.linear.directions[0].reshape(SHAPE)
    found = mean_of_samples(one, mris, volumes)
    torch.testing.assert_close(mean_of_samples(one, mris, moved), found, rtol=1e-4, atol=1e-4)


def test_of_many_samples_of_a_model_it_is_their_plain_mean_but_for_chance():
    """The sampling loop and the closed form agree on the level: 24 draws of one MRI."""
    one = engine(3, components=1)
    mri = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(7))
    drawn = sample_subjects(one, mri, [0], samples=24, steps=6, batch=8)
    levels = along(one, drawn[0])[:, 0]
    (wanted,) = along(one, mean_of_samples(one, mri, drawn))[0]
    error = (levels.mean() - wanted).abs() / (levels.std() / 24**0.5)
    assert error < 3, "standard errors"
    assert levels.std() > 1


@pytest.mark.parametrize(("components", "samples"), [(0, 4), (1, 1)])
def test_without_a_linear_denoiser_or_with_one_sample_it_is_the_plain_mean(
    components, samples, mris
):
    volumes = draws(samples)
    found = mean_of_samples(engine(3, components), mris, volumes)
    torch.testing.assert_close(found, volumes.mean(1), rtol=0, atol=0)


@torch.inference_mode()
def test_each_model_of_an_ensemble_gives_its_own_level(mris):
    first, second = engine(3, 1, 1.0, 0.5), engine(4, 1, 1.4, 0.25)
    plain = engine(5, 0, 1.1, 0.3)
    volumes = draws(5)
    found = mean_of_samples(Ensemble([first, second, plain]), mris, volumes)
    wanted = 0
    for place, one in enumerate((first, second, plain)):
        own = (volumes[:, place::3] - one.pet_mean) / one.pet_std
        learnt = mean_of_samples(one, mris, own.repeat(1, 2, 1, 1, 1, 1))
        wanted = wanted + (learnt * one.pet_std + one.pet_mean) * own.shape[1] / 5
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - volumes.mean(1)).abs().max() > 0.01


def test_it_is_given_in_suvr_beside_the_samples(mris):
    one, volumes = engine(3, components=1), draws(3)
    first, second = drawn_in_suvr(one, mris, volumes)
    np.testing.assert_allclose(second.samples, volumes[1, :, 0].numpy() * 0.5 + 1.2, rtol=1e-6)
    mean = mean_of_samples(one, mris, volumes)[0, 0] * 0.5 + 1.2
    np.testing.assert_allclose(first.mean, mean.numpy(), rtol=1e-6)
