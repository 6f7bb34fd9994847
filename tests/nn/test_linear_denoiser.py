"""The linear denoiser against the formula of a normal distribution, and what it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.config import ModelConfig
from mri2pet.diffusion.schedule import add_noise, alpha_bar, noise_from_output, x0_from_noise
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.linear_denoiser import LinearDenoiser

SHAPE = (2, 3, 4)


def volumes(count: int) -> torch.Tensor:
    """People who differ along two directions, far more than in anything else."""
    g = torch.Generator().manual_seed(3)
    along = torch.randn(2, 24, generator=g)
    people = torch.randn(count, 2, generator=g) * torch.tensor([3.0, 1.5])
    own = 0.2 * torch.randn(count, 24, generator=g)
    return torch.randn(24, generator=g) + people @ along + own


@pytest.mark.parametrize("step", [1, 50, 400, 700, 999])
def test_it_gives_the_expectation_under_a_normal_distribution(step):
    data = volumes(40)
    linear = LinearDenoiser(2, SHAPE)
    linear.fit(data)
    x0, t = data[:5].reshape(5, 1, *SHAPE), torch.full((5,), step)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(4))
    x_t = add_noise(x0, noise, t)
    output = linear(x_t, linear.rows(t))
    found = x0_from_noise(x_t, noise_from_output("v", x_t, output, t), t).flatten(1)

    # Bayes' rule for x_0 ~ N(m, S), written out; S keeps two components, the rest alike.
    m, a = data.double().mean(0).numpy(), float(alpha_bar()[step])
    values, vectors = np.linalg.eigh(np.cov(data.double().numpy().T))
    values[:-2] = values[:-2].mean()
    s = vectors @ np.diag(values) @ vectors.T
    gain = np.sqrt(a) * s @ np.linalg.inv(a * s + (1 - a) * np.eye(24))
    seen = x_t.flatten(1).double().numpy() - np.sqrt(a) * m
    np.testing.assert_allclose(found.numpy(), m + seen @ gain.T, atol=2e-3)


def test_the_same_volumes_give_the_same_denoiser_and_few_give_few_directions():
    one, other = LinearDenoiser(4, SHAPE), LinearDenoiser(4, SHAPE)
    one.fit(volumes(9))
    other.fit(volumes(9))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    lengths = one.directions.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert (one.table[:, 2:4] != 0).all()
    assert (one.table[:, 4:6] == 0).all()
    one.fit(volumes(1))
    assert torch.equal(one.table, other.table)


def network(components: int) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(
        mri_shape=(16, 32, 32),
        pet_shape=(16, 32, 32),
        prediction="v",
        linear_components=components,
    )
    return Network(config).requires_grad_(False)


def test_it_adds_nothing_before_it_is_fitted_and_its_part_afterwards():
    plain, made = network(0), network(3)
    g = torch.Generator().manual_seed(1)
    x, mri = torch.randn(2, 1, 16, 32, 32, generator=g), torch.rand(2, 1, 16, 32, 32, generator=g)
    t = torch.tensor([20, 900])
    without = plain(x, t, mri)
    assert torch.equal(made(x, t, mri), without)
    made.linear.fit(torch.randn(16, 16 * 32 * 32, generator=g))
    added = made.linear(x, made.linear.rows(t))
    assert added.abs().mean() > 0.05
    torch.testing.assert_close(made(x, t, mri), without + added)


def test_under_autocast_it_stays_in_float32():
    made = network(3)
    g = torch.Generator().manual_seed(1)
    made.linear.fit(torch.randn(16, 16 * 32 * 32, generator=g))
    x = torch.randn(1, 1, 16, 32, 32, generator=g)
    rows = made.linear.rows(torch.tensor([500]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made.linear(x, rows)
    assert torch.equal(inside, made.linear(x, rows))


def test_it_is_of_v_alone():
    with pytest.raises(ValueError, match=r"needs model\.prediction=v"):
        ModelConfig(mri_shape=(16, 32, 32), pet_shape=(16, 32, 32), linear_components=2)
    from mri2pet.stages import load_config

    with pytest.raises(UsageError, match="linear_components"):
        load_config("paper", ("model.linear_components=2",))
