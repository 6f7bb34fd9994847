"""The linear denoiser against the formula of a normal distribution, and what it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.config import ModelConfig
from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import add_noise, alpha_bar, noise_from_output, x0_from_noise
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.linear_denoiser import MOST_SCORE, LinearDenoiser

SHAPE = (2, 3, 4)


def volumes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PETs of people who differ along two directions, and MRIs that tell the first of them."""
    g = torch.Generator().manual_seed(3)
    along = torch.randn(2, 24, generator=g)
    along[0] = along[0].abs() + 0.5  # the amount of amyloid
    people = torch.randn(count, 2, generator=g) * torch.tensor([3.0, 1.5])
    own = 0.2 * torch.randn(count, 24, generator=g)
    pets = torch.randn(24, generator=g) + people @ along + own
    told = people[:, :1] * torch.rand(24, generator=g) + 0.1 * torch.randn(count, 24, generator=g)
    return pets, 0.5 + 0.1 * told


def fitted(count: int, components: int = 2) -> tuple[LinearDenoiser, torch.Tensor, torch.Tensor]:
    linear = LinearDenoiser(components, SHAPE)
    pets, mris = volumes(count)
    linear.fit(pets, mris)
    return linear, pets, mris


@pytest.mark.parametrize("step", [1, 50, 400, 700, 999])
def test_it_gives_the_expectation_under_a_normal_distribution(step):
    linear, pets, mris = fitted(40)
    x0, t = pets[:5].reshape(5, 1, *SHAPE), torch.full((5,), step)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(4))
    x_t = add_noise(x0, noise, t)
    expected = linear.expected(mris[:5].reshape(5, 1, *SHAPE))
    output = linear(x_t, linear.rows(t), expected)
    found = x0_from_noise(x_t, noise_from_output("v", x_t, output, t), t).flatten(1)

    # Bayes' rule for x_0 ~ N(mu, S), written out; S keeps two components, the rest alike.
    a = float(alpha_bar()[step])
    mu = linear.expected(mris.reshape(40, 1, *SHAPE)).flatten(1).double().numpy()
    left = pets.double().numpy() - mu
    values, vectors = np.linalg.eigh(left.T @ left / 39)
    values[:-2] = values[:-2].mean()
    s = vectors @ np.diag(values) @ vectors.T
    gain = np.sqrt(a) * s @ np.linalg.inv(a * s + (1 - a) * np.eye(24))
    seen = x_t.flatten(1).double().numpy() - np.sqrt(a) * mu[:5]
    np.testing.assert_allclose(found.numpy(), mu[:5] + seen @ gain.T, atol=2e-3)


def test_what_the_mri_tells_is_expected():
    """Least squares on the scores of the MRIs, by numpy."""
    linear, pets, mris = fitted(40)
    centred = (mris - mris.mean(0)).double().numpy()
    u, _, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :2] * np.sqrt(39)  # of standard deviation 1
    left = (pets - pets.mean(0)).double().numpy()
    answer = scores.clip(-3, 3) @ np.linalg.lstsq(scores, left, rcond=None)[0]
    found = linear.expected(mris.reshape(40, 1, *SHAPE)).flatten(1) - linear.mean
    np.testing.assert_allclose(found.numpy(), answer, atol=1e-4)
    assert found.var() > 0.4 * left.var()


def test_an_mri_unlike_all_of_the_cohort_is_taken_for_its_edge():
    linear, _, mris = fitted(40)
    away = linear.readers[0] / linear.readers[0].norm() ** 2  # a score of 1
    mean = mris.mean(0)
    edge, far = ((mean + k * away).reshape(1, 1, *SHAPE) for k in (MOST_SCORE, 100.0))
    torch.testing.assert_close(linear.expected(far), linear.expected(edge), atol=1e-4, rtol=0)
    assert not torch.allclose(linear.expected(edge).flatten(), linear.mean, atol=0.1)


def test_the_same_volumes_give_the_same_denoiser_and_few_give_few_directions():
    (one, _, _), (other, _, _) = fitted(9, 4), fitted(9, 4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    lengths = one.directions.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert (one.table[:, 3:5] != 0).all()
    assert (one.table[:, 5:] == 0).all()
    assert (one.readers == 0).all()  # sixteen volumes are needed for a score
    one.fit(*volumes(1))
    assert torch.equal(one.table, other.table)


def test_the_loop_starts_where_the_noising_ends():
    """Drawn with the linear denoiser alone, volumes have the mean of those it was fitted to."""
    linear = LinearDenoiser(2, SHAPE)
    mris = torch.rand(40, 24, generator=torch.Generator().manual_seed(5))  # tell nothing
    linear.fit(volumes(40)[0] + 60.0, mris)  # as if thousands of voxels shared it
    rows = linear.rows(make_table("ddim", "v", 20).timesteps)
    guide = linear.expected(mris[:1].reshape(1, 1, *SHAPE)).expand(200, -1, -1, -1, -1)

    def drawn(expected):
        return run_table(
            lambda x, row: linear(x, row, guide),
            make_table("ddim", "v", 20),
            rows[:, None].expand(-1, 200, -1),
            SHAPE,
            seed=0,
            subjects=torch.zeros(200, dtype=torch.int64),
            samples=torch.arange(200),
            expected=expected,
        ).mean(0)

    torch.testing.assert_close(drawn(guide), guide[0], atol=1.0, rtol=0)
    assert (drawn(None) - guide[0]).abs().max() > 3


def network(components: int) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(
        mri_shape=(16, 32, 32),
        pet_shape=(16, 32, 32),
        prediction="v",
        cond="concat",
        linear_components=components,
    )
    return Network(config).requires_grad_(False)


def fit(made: Network, g: torch.Generator) -> None:
    made.linear.fit(*torch.randn(2, 48, 16 * 32 * 32, generator=g))


def test_it_adds_its_part_and_shows_what_it_expects():
    made = network(3)
    g = torch.Generator().manual_seed(1)
    x, mri = torch.randn(2, 1, 16, 32, 32, generator=g), torch.rand(2, 1, 16, 32, 32, generator=g)
    t = torch.tensor([20, 900])
    guide = made.guide(mri)
    assert torch.equal(guide[:, :1], mri)
    assert (guide[:, 1:] == 0).all()
    rows = made.block_biases(made.mri_encoder(mri), t)
    assert torch.equal(
        made.denoise(x, rows, guide), made.unet(torch.cat((x, guide), 1), rows[:, :360])
    )
    fit(made, g)
    guide, rows = made.guide(mri), made.block_biases(made.mri_encoder(mri), t)
    assert torch.equal(guide[:, 1:], made.linear.expected(mri))
    added = made.linear(x, made.linear.rows(t), guide[:, 1:])
    assert added.abs().mean() > 0.05
    plain = made.unet(torch.cat((x, guide), 1), rows[:, :360])
    torch.testing.assert_close(made(x, t, mri), plain + added)


def test_under_autocast_it_stays_in_float32():
    made = network(3)
    g = torch.Generator().manual_seed(1)
    fit(made, g)
    x, mri = torch.randn(2, 1, 1, 16, 32, 32, generator=g)
    rows, expected = made.linear.rows(torch.tensor([500])), made.linear.expected(mri)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made.linear(x, rows, made.linear.expected(mri))
    assert torch.equal(inside, made.linear(x, rows, expected))


def test_it_is_of_v_and_of_an_mri_as_a_channel_alone():
    shapes = {"mri_shape": (16, 32, 32), "pet_shape": (16, 32, 32), "linear_components": 2}
    with pytest.raises(ValueError, match=r"needs model\.prediction=v"):
        ModelConfig(**shapes, cond="concat")
    with pytest.raises(ValueError, match=r"needs model\.cond=concat"):
        ModelConfig(**shapes, prediction="v")
    from mri2pet.stages import load_config

    with pytest.raises(UsageError, match="linear_components"):
        load_config("paper", ("model.linear_components=2",))
