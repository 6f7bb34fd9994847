"""Each sampler's table against the independent implementation of the diffusers package."""

from __future__ import annotations

import pytest
import torch

from mri2pet.diffusion import schedule
from mri2pet.diffusion.samplers import make_table, spaced_timesteps
from mri2pet.errors import UsageError
from mri2pet.ops import sampler_step

SHAPE = (2, 1, 4, 6, 5)
PREDICTION = {"epsilon": "epsilon", "v": "v_prediction"}


def network(x: torch.Tensor, t: int) -> torch.Tensor:
    """A smooth stand-in with a dependence on both arguments."""
    return torch.tanh(0.8 * x + t / 1000) - 0.3 * x


def run_ours(table, x, noises=None):
    nobody = torch.zeros(len(x), dtype=torch.int64)
    x0 = torch.zeros_like(x)
    for i, t in enumerate(table.timesteps.tolist()):
        row = table.coefficients[i].clone()
        gain, row[2] = float(row[2]), 0.0
        x, x0 = sampler_step(
            x, network(x, t), x0, row, seed=0, step=t, subjects=nobody, samples=nobody
        )
        if noises is not None:
            x = x + gain * noises[i]
    return x


def start(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def theirs(name, prediction, **options):
    """A scheduler of diffusers, whose import takes seconds: not while tests are collected."""
    return getattr(pytest.importorskip("diffusers"), name)(
        num_train_timesteps=1000,
        trained_betas=schedule.beta().numpy(),
        prediction_type=PREDICTION[prediction],
        **options,
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [4, 25])
def test_ddim_deterministic(prediction, steps):
    scheduler = theirs("DDIMScheduler", prediction, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    x = expected = start()
    for t in scheduler.timesteps.tolist():
        expected = scheduler.step(network(expected, t), t, expected).prev_sample
    table = make_table("ddim", prediction, timesteps=scheduler.timesteps.tolist())
    torch.testing.assert_close(run_ours(table, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_ddim_with_noise(eta):
    scheduler = theirs("DDIMScheduler", "epsilon", clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    noises = torch.randn(10, *SHAPE, generator=torch.Generator().manual_seed(4))
    expected = start()
    for z, t in zip(noises, scheduler.timesteps.tolist(), strict=True):
        expected = scheduler.step(
            network(expected, t), t, expected, eta=eta, variance_noise=z
        ).prev_sample
    table = make_table("ddim", "epsilon", timesteps=scheduler.timesteps.tolist(), eta=eta)
    torch.testing.assert_close(run_ours(table, start(), noises), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [5, 20])
def test_dpm_solver(prediction, steps):
    scheduler = theirs(
        "DPMSolverMultistepScheduler",
        prediction,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        lower_order_final=False,
        timestep_spacing="linspace",
    )
    scheduler.set_timesteps(steps)
    expected = start()
    for t in scheduler.timesteps:
        expected = scheduler.step(network(expected, int(t)), t, expected).prev_sample
    table = make_table("dpmpp", prediction, timesteps=scheduler.timesteps.tolist())
    torch.testing.assert_close(run_ours(table, start()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_ddpm_full_steps(prediction, monkeypatch):
    """One by one: their step with variance β and this table's row, at steps far apart."""
    scheduler = theirs("DDPMScheduler", prediction, variance_type="fixed_large", clip_sample=False)
    table = make_table("ddpm", prediction, 999)
    assert table.timesteps.tolist() == list(range(999, 0, -1))
    z = start(7)
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *args, **kwargs: z
    )
    nobody = torch.zeros(2, dtype=torch.int64)
    for t in (999, 640, 31, 2):
        x, row = start(t), table.coefficients[999 - t].clone()
        gain, row[2] = float(row[2]), 0.0
        ours, x0 = sampler_step(
            x, network(x, t), x, row, seed=0, step=t, subjects=nobody, samples=nobody
        )
        step = scheduler.step(network(x, t), t, x)
        torch.testing.assert_close(ours + gain * z, step.prev_sample, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x0, step.pred_original_sample, rtol=1e-4, atol=1e-4)
    assert table.coefficients[-1, 2] == 0


def test_ddpm_on_a_subsequence_is_ddim_with_its_own_variance():
    """The mean of the paper's update between two indices, from the posterior of Ho et al."""
    times = [999, 700, 333, 40, 1]
    table = make_table("ddpm", "epsilon", timesteps=times)
    a = schedule.alpha_bar().double()
    for i, (t, s) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        step_alpha = a[t] / a[s]
        x, noise = torch.tensor(0.7), torch.tensor(-0.4)
        x0 = (x - (1 - a[t]).sqrt() * noise) / a[t].sqrt()
        mean = (
            a[s].sqrt() * (1 - step_alpha) / (1 - a[t]) * x0
            + step_alpha.sqrt() * (1 - a[s]) / (1 - a[t]) * x
        )
        ours = table.coefficients[i, 0] * x + table.coefficients[i, 1] * noise
        assert float(ours) == pytest.approx(float(mean), rel=1e-5)
        expected = 0.0 if s == 0 else float((1 - step_alpha).sqrt())
        assert float(table.coefficients[i, 2]) == pytest.approx(expected, rel=1e-6)


def test_epsilon_and_v_are_the_same_sampler():
    """A v network that says what an ε network says gives the same volume."""
    for name in ("ddpm", "ddim", "dpmpp"):
        tables = [make_table(name, p, 12, eta=0) for p in ("epsilon", "v")]
        x = torch.full((1,), 0.9, dtype=torch.float64)
        ends = []
        for prediction, table in zip(("epsilon", "v"), tables, strict=True):
            y, x0 = x.clone(), torch.zeros_like(x)
            for t, row in zip(table.timesteps.tolist(), table.coefficients, strict=True):
                at = float(schedule.alpha_bar()[t])
                noise = torch.sin(y)
                output = (
                    noise if prediction == "epsilon" else (noise - (1 - at) ** 0.5 * y) / at**0.5
                )
                a, b, _, d, p, q = row.tolist()
                y, x0 = a * y + b * output + d * x0, p * y + q * output
            ends.append(y)
        torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-10)


def test_spacing_reaches_both_ends():
    assert spaced_timesteps(1) == [999]
    assert spaced_timesteps(2) == [999, 1]
    for steps in (3, 25, 500, 999):
        times = spaced_timesteps(steps)
        assert (times[0], times[-1], len(set(times))) == (999, 1, steps)
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_steps_are_refused(steps):
    with pytest.raises(UsageError, match="steps must lie in"):
        make_table("dpmpp", "v", steps)


def test_unknown_sampler_is_refused():
    with pytest.raises(UsageError, match="unknown sampler 'euler'"):
        make_table("euler", "v", 10)
    with pytest.raises(UsageError, match="eta"):
        make_table("ddim", "v", 10, eta=2)
