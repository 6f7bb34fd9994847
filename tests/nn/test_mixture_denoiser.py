"""A mixture along the directions: its expectation, its samples, and models that know no mixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import alpha_bar
from mri2pet.nn.linear_denoiser import COEFFICIENTS, LinearDenoiser

SHAPE = (2, 3, 4)
PEOPLE = 600


def volumes(skewed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """PETs of people who differ by a level, of deviation 30, and MRIs that tell nothing of it."""
    g = torch.Generator().manual_seed(8)
    level = torch.randn(PEOPLE, generator=g)
    if skewed:  # a third have amyloid
        high = torch.arange(PEOPLE) % 3 == 0
        level = torch.where(high, 42 + 28 * level, -18 + 6 * level)
    else:
        level = 30 * level
    own = 0.5 * torch.randn(PEOPLE, 24, generator=g)
    along = torch.full((24,), 24**-0.5)
    return 2 + level[:, None] * along + own, torch.rand(PEOPLE, 24, generator=g)


def fitted(skewed: bool, normals: int, components: int = 2) -> LinearDenoiser:
    linear = LinearDenoiser(components, SHAPE, normals)
    linear.fit(*volumes(skewed))
    return linear


def answer(linear: LinearDenoiser, output: torch.Tensor, step: int) -> torch.Tensor:
    """The output for x_t = `output` and an expected PET of a third of it."""
    return linear(output, output, linear.rows(torch.full((len(output),), step)), output / 3)


def wiener(linear: LinearDenoiser, gains: torch.Tensor, output: torch.Tensor, step: int):
    """`answer` by one normal distribution a direction, as it was computed before mixtures."""
    root, n = linear.table[step, :2]
    flat = output.flatten(1)
    wanted = gains * ((flat - root * (flat / 3)) @ linear.directions.T)
    changed = wanted - (flat + n * (flat / 3)) @ linear.directions.T
    return (flat + changed @ linear.directions).reshape(output.shape)


@pytest.mark.parametrize("normals", [1, 2])
@pytest.mark.parametrize("step", [1, 300, 700, 999])
def test_of_one_normal_distribution_it_is_wieners_filter_to_the_last_bit(normals, step):
    linear = fitted(False, normals)
    variances = linear.mixture[:, 0, 2].double()
    alike = torch.stack((torch.full((2,), 1 / normals), torch.zeros(2), variances.float()), dim=1)
    assert torch.equal(linear.mixture, alike[:, None].expand(-1, normals, -1))
    a = alpha_bar()[step].double()
    gains = (a * (1 - a)).sqrt() * (1 - variances) / (a * variances + 1 - a)
    stored = old_state(linear)["table"][step, 2:]
    torch.testing.assert_close(stored, gains.float(), rtol=2e-6, atol=0)
    output = 20 * torch.randn(5, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(answer(linear, output, step), wiener(linear, stored, output, step))


def old_state(linear: LinearDenoiser) -> dict[str, torch.Tensor]:
    """The buffers as models had them that knew one normal distribution a direction."""
    state = linear.state_dict()
    columns = len(COEFFICIENTS), *linear.mixture.shape[:2]
    gains = state["table"][:, 2:].unflatten(1, columns)[:, 0, :, 0]
    return {
        "mean": state["mean"],
        "directions": state["directions"],
        "readers": state["regression"],
        "told": state["offsets"],
        "table": torch.cat((state["table"][:, :2], gains), dim=1),
    }


def test_buffers_of_older_models_are_taken_with_their_variances():
    made = fitted(False, 2, components=3)
    made.mixture[2], made.table[:, 2:].unflatten(1, (5, 3, 2))[:, :, 2] = 0, 0  # one unused
    old = old_state(made)
    linear = LinearDenoiser(3, SHAPE)
    linear.load_state_dict(old)
    assert set(old) == {"mean", "directions", "readers", "told", "table"}
    mri = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(linear.expected(mri), made.expected(mri))
    torch.testing.assert_close(linear.mixture, made.mixture, rtol=1e-3, atol=1e-6)
    for step in (1, 300, 999):
        gains = old["table"][step, 2:]
        assert torch.equal(answer(linear, 9 * mri, step), wiener(linear, gains, 9 * mri, step))
    unfitted = LinearDenoiser(3, SHAPE)
    unfitted.load_state_dict(old_state(unfitted))
    assert all((value == 0).all() for value in unfitted.state_dict().values())


@pytest.mark.parametrize("step", [1, 50, 400, 700, 900, 999])
def test_it_gives_the_expectation_under_the_mixture(step):
    """Against the integral over x_0, in float64."""
    linear = fitted(True, 2)
    assert (linear.mixture[0, :, 1].abs() > 10).all()
    a = float(alpha_bar()[step])
    root, n = a**0.5, (1 - a) ** 0.5
    left = np.linspace(-400, 400, 800_001)
    prior = sum(
        w / np.sqrt(v) * np.exp(-((left - m) ** 2) / (2 * v))
        for w, m, v in linear.mixture[0].double().numpy()
    )
    for y in (-70.0, -20.0, -8.0, 0.0, 3.0, 15.0, 90.0):
        y = y * root + (-1 if y < 0 else 1) * n
        weights = np.log(prior) - (y - root * left) ** 2 / (2 * n * n)
        weights = np.exp(weights - weights.max())
        wanted = (root * y - (weights * left).sum() / weights.sum()) / n
        x = (y * linear.directions[0]).reshape(1, 1, *SHAPE)
        found = linear(x, x, linear.rows(torch.tensor([step])), torch.zeros_like(x))
        found = found.flatten() @ linear.directions[0]
        assert float(found) == pytest.approx(wanted, abs=2e-4 * max(1, abs(wanted)))


@pytest.mark.parametrize("y", [1e-30, 1e4, -1e9])
def test_a_volume_unlike_all_gives_no_nan(y):
    linear = fitted(True, 2)
    for step in (1, 500, 999):
        assert answer(linear, torch.full((1, 1, *SHAPE), y), step).isfinite().all()


def test_samples_have_the_quantiles_of_the_people():
    """By the loop's own sampler, in as many steps as a synthesis; one normal gives other people."""
    pets, _ = volumes(True)
    count, at = 1000, torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])

    def error(normals: int) -> float:
        linear = fitted(True, normals, components=1)
        table = make_table("dpmpp", "v", 25)
        guide = linear.mean.reshape(1, 1, *SHAPE).expand(count, -1, -1, -1, -1)
        drawn = run_table(
            lambda x, row: linear(torch.zeros_like(x), x, row, guide),
            table,
            linear.rows(table.timesteps)[:, None].expand(-1, count, -1),
            SHAPE,
            seed=1,
            subjects=torch.zeros(count, dtype=torch.int64),
            samples=torch.arange(count),
            expected=guide,
        )
        people, levels = (v.flatten(1) @ linear.directions[0] for v in (pets, drawn))
        wrong = levels.quantile(at) - people.quantile(at)
        return float(wrong.abs().max())

    assert error(2) < 6 < 20 < error(1)
