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
    """PETs of people who differ by a level, of deviation 30, and MRIs that tell a part of it."""
    g = torch.Generator().manual_seed(8)
    level, own = torch.randn(PEOPLE, generator=g), 0.5 * torch.randn(PEOPLE, 24, generator=g)
    mris = 0.5 + 0.02 * torch.randn(PEOPLE, 24, generator=g)
    if skewed:  # a third have amyloid, and more atrophy
        high = torch.arange(PEOPLE) % 3 == 0
        level = torch.where(high, 42 + 28 * level, -18 + 3 * level)
        mris[:, 0] += 0.1 * torch.where(high, 1.0, 0.0) + 0.05 * own[:, 3]
    else:
        level = 30 * level
        mris[:, 0] += 0.001 * level
    return 2 + level[:, None] * torch.full((24,), 24**-0.5) + own, mris


def fitted(skewed: bool, normals: int, components: int = 2) -> LinearDenoiser:
    linear = LinearDenoiser(components, SHAPE, normals)
    linear.fit(*volumes(skewed))
    return linear


def answer(linear: LinearDenoiser, output: torch.Tensor, step: int) -> torch.Tensor:
    """The output for x_t = `output` and a predicted PET of a third of it."""
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
    variances = linear.mixture[:, 0, -1].double()
    assert torch.equal(linear.mixture, linear.mixture[:, :1].expand(-1, normals, -1))
    assert (linear.mixture[:, :, 1:-1] == 0).all()
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
    made.mixture[2], made.table[:, 2:].unflatten(1, (8, 3, 2))[:, :, 2] = 0, 0  # one unused
    old = old_state(made)
    linear = LinearDenoiser(3, SHAPE)
    linear.load_state_dict(old)
    assert set(old) == {"mean", "directions", "readers", "told", "table"}
    mri = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    predicted = linear.predicted(mri)
    assert torch.equal(predicted, made.predicted(mri))
    assert torch.equal(linear.expected(predicted), predicted)
    torch.testing.assert_close(linear.mixture, made.mixture, rtol=1e-3, atol=1e-6)
    for step in (1, 300, 999):
        gains = old["table"][step, 2:]
        assert torch.equal(answer(linear, 9 * mri, step), wiener(linear, gains, 9 * mri, step))
    unfitted = LinearDenoiser(3, SHAPE)
    unfitted.load_state_dict(old_state(unfitted))
    assert all((value == 0).all() for value in unfitted.state_dict().values())


@pytest.mark.parametrize("d", [-12.0, 0.0, 20.0])
@pytest.mark.parametrize("step", [1, 50, 400, 700, 900, 999])
def test_it_gives_the_expectation_under_the_mixture(step, d):
    """Against the integral over x_0, in float64, for people of whom MRIs predict a level."""
    linear = fitted(True, 2)
    along = linear.directions[0]
    odds, lean, mean, drift, variance = linear.mixture[0].double().numpy().T
    assert lean[1] - lean[0] > 0.05
    a = float(alpha_bar()[step])
    root, n = a**0.5, (1 - a) ** 0.5
    predicted = linear.mean + d * along
    mu, centres = float(predicted @ along), mean + drift * d
    left = np.linspace(-400, 400, 800_001)
    prior = sum(
        np.exp(odds + lean * d)[k] / variance[k] ** 0.5
        * np.exp(-((left - centres[k]) ** 2) / (2 * variance[k]))
        for k in range(2)
    )  # fmt: skip
    beyond = linear.expected(predicted.reshape(1, 1, *SHAPE)).flatten() - predicted
    wanted = (prior * left).sum() / prior.sum()
    torch.testing.assert_close(beyond, wanted.astype("f4") * along, atol=1e-4, rtol=1e-4)
    for level in (-70.0, -20.0, -8.0, 0.0, 3.0, 15.0, 90.0):
        y = level * root + (-1 if level < 0 else 1) * n
        weights = np.log(prior + 1e-300) - (y - root * left) ** 2 / (2 * n * n)
        weights = np.exp(weights - weights.max())
        wanted = (root * y - (weights * left).sum() / weights.sum()) / n - n * mu
        x = root * predicted + y * along
        x, shown = (v.reshape(1, 1, *SHAPE) for v in (x, predicted))
        found = linear(x, x, linear.rows(torch.tensor([step])), shown).flatten() @ along
        assert float(found) == pytest.approx(wanted, abs=5e-4 * max(1, abs(wanted)))


@pytest.mark.parametrize("y", [1e-30, 1e4, -1e9])
def test_a_volume_unlike_all_gives_no_nan(y):
    linear = fitted(True, 2)
    for step in (1, 500, 999):
        assert answer(linear, torch.full((1, 1, *SHAPE), y), step).isfinite().all()


def test_samples_have_the_quantiles_of_the_people():
    """One of each, by the loop's own sampler in as many steps as a synthesis; from one normal
    distribution they are people of far too little uptake."""
    pets, mris = volumes(True)
    at = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95])

    def error(normals: int) -> torch.Tensor:
        linear = fitted(True, normals, components=1)
        table = make_table("dpmpp", "v", 25)
        predicted = linear.predicted(mris.reshape(PEOPLE, 1, *SHAPE))
        drawn = run_table(
            lambda x, row: linear(torch.zeros_like(x), x, row, predicted),
            table,
            linear.rows(table.timesteps)[:, None].expand(-1, PEOPLE, -1),
            SHAPE,
            seed=1,
            subjects=torch.arange(PEOPLE),
            samples=torch.zeros(PEOPLE, dtype=torch.int64),
            expected=linear.expected(predicted),
        )
        people, levels = (v.flatten(1) @ linear.directions[0] for v in (pets, drawn))
        return (levels.quantile(at) - people.quantile(at)).abs()

    two, one = error(2), error(1)
    assert two.max() < 5
    assert one[0] > 20
