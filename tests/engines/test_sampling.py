"""Sampling: reproducible, independent of the batch, and refusing bad requests."""

from __future__ import annotations

import pytest
import torch

from mri2pet.checkpoint import Model
from mri2pet.engines.sampling import sample
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.stages import load_config

SETTINGS = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    network = Network(load_config("compact", SETTINGS).model).eval()
    return Model(network, network.config, 1.0, 0.5)


@pytest.fixture(scope="module")
def mri():
    return torch.rand(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
def test_the_batch_does_not_change_a_sample(model, mri, sampler):
    options = {"sampler": sampler, "steps": 3, "seed": 9, "subject": 2**63 + 5}
    together = sample(model, mri, samples=3, batch=3, **options)
    alone = sample(model, mri, samples=3, batch=1, **options)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert together.shape == (3, 1, 16, 32, 32)
    assert (together[0] - together[1]).abs().mean() > 1e-2
    other = sample(model, mri, samples=1, batch=1, **{**options, "seed": 10})
    assert (other[0] - alone[0]).abs().mean() > 1e-2
    again = sample(model, mri, samples=1, batch=1, **options)
    assert torch.equal(again[0], alone[0])


def test_the_loop_is_the_plain_recursion(model, mri):
    """999-step DDPM cut to its formula: noise from ε̃ through predict_noise, β from the schedule."""
    from mri2pet.diffusion.samplers import make_table
    from mri2pet.ops import philox_normal

    times = make_table("ddim", "v", 4).timesteps.tolist()
    coordinates = {"seed": 3, "subjects": torch.tensor([8]), "samples": torch.tensor([0])}
    x = philox_normal((1, 16, 32, 32), step=1000, **coordinates)
    from mri2pet.diffusion.schedule import alpha_bar

    with torch.no_grad():
        for t, s in zip(times, [*times[1:], None], strict=True):
            noise = model.predict_noise(x, torch.tensor([t]), mri)
            a = alpha_bar()[t]
            x0 = (x - (1 - a).sqrt() * noise) / a.sqrt()
            b = alpha_bar()[s] if s is not None else torch.tensor(1.0)
            x = b.sqrt() * x0 + (1 - b).sqrt() * noise
    ours = sample(model, mri, samples=1, sampler="ddim", steps=4, seed=3, subject=8)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_progress_counts_every_evaluation(model, mri):
    seen = []
    sample(model, mri, samples=3, batch=2, steps=2, on_step=lambda i, n: seen.append((i, n)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"samples": -1}, {"steps": 0}, {"seed": -1}, {"sampler": "x"}]
)
def test_impossible_requests_are_refused(model, mri, wrong):
    with pytest.raises(UsageError):
        sample(model, mri, **wrong)
