"""The four terms of DDPM-PA, over networks that answer what is asked of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mri2pet.baselines import find_baseline
from mri2pet.baselines.base import Phase
from mri2pet.baselines.draws import Draws
from mri2pet.baselines.pairwise import consistency, high_frequency
from mri2pet.diffusion import schedule

from .cases import configuration, volumes


class Known(nn.Module):
    """Says what gives the x̃_0 that it was made with; keeps what it was asked."""

    def __init__(self, prediction: str, x_0: Tensor) -> None:
        super().__init__()
        self.prediction, self.x_0 = prediction, nn.Parameter(x_0)
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, mri: Tensor) -> Tensor:
        self.asked.append((x_t, t, mri))
        a = schedule.alpha_bar_at(t).reshape(-1, 1, 1, 1, 1)
        noise = (x_t - a.sqrt() * self.x_0) / (1 - a).sqrt()
        return noise if self.prediction == "epsilon" else schedule.velocity(self.x_0, noise, t)


def loss_of(of_network: Tensor, of_source: Tensor, prediction="epsilon", **settings):
    """Terms where the network predicts the one x̃_0 and its source the other; both networks."""
    config = configuration(prediction=prediction, **settings)
    network, source = Known(prediction, of_network), Known(prediction, of_source)
    batch = volumes(len(of_network))
    terms = find_baseline("ddpm-pa").loss(
        Phase("network"),
        {"network": network},
        {"network": source.requires_grad_(False)},
        batch,
        Draws(0, "network", 0, len(of_network), 5),
        config,
    )
    return terms, network, source


def waves(seed: int) -> Tensor:
    """Four volumes that are more and less alike, as a consistency needs them."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn((4, 3), generator=generator)
    common = torch.randn((3, 1, 16, 32, 32), generator=generator)
    own = torch.randn((4, 1, 16, 32, 32), generator=generator)
    return torch.einsum("bn,n...->b...", mix, common) + 0.3 * own


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_both_networks_are_asked_the_same(prediction):
    _, network, source = loss_of(waves(1), waves(2), prediction)
    (asked,), (of_source,) = network.asked, source.asked
    assert all(a is b or torch.equal(a, b) for a, b in zip(asked, of_source, strict=True))
    batch = volumes()
    torch.testing.assert_close(asked[0], schedule.add_noise(batch.pet, batch.noise, batch.t))
    assert torch.equal(asked[1], batch.t)
    assert torch.equal(asked[2], batch.mri)


def test_equal_networks_are_consistent():
    terms, _, _ = loss_of(waves(1), waves(1))
    assert terms["pairwise"].abs() < 1e-6
    assert terms["high_pairwise"].abs() < 1e-6
    torch.testing.assert_close(
        terms["loss"], terms["mse"] + 0.05 * terms["high_mse"], rtol=1e-5, atol=1e-5
    )


def test_a_perfect_network_has_no_error():
    terms, _, _ = loss_of(volumes().pet, volumes().pet)
    assert all(abs(value) < 1e-5 for value in terms.values())


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_terms(prediction):
    """The same x̃_0 gives the same terms of it, whatever the network predicts."""
    drawn, of_source, real = waves(1), waves(2), volumes().pet
    terms, _, _ = loss_of(drawn, of_source, prediction)
    high = high_frequency
    expected = {
        "pairwise": consistency(of_source, drawn),
        "high_pairwise": consistency(high(of_source), high(drawn)),
        "high_mse": (high(drawn) - high(real)).square().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value, rtol=1e-3, atol=0)
    total = terms["mse"] + 4 * terms["pairwise"] + 4 * terms["high_pairwise"]
    torch.testing.assert_close(terms["loss"], total + 0.05 * terms["high_mse"])


def test_the_first_term_is_the_error_of_the_prediction():
    batch, drawn = volumes(), waves(1)
    a = schedule.alpha_bar_at(batch.t).reshape(-1, 1, 1, 1, 1)
    error = (drawn - batch.pet).square()
    for prediction, weight in (("epsilon", a / (1 - a)), ("v", 1 / (1 - a))):
        terms, _, _ = loss_of(drawn, drawn, prediction)
        torch.testing.assert_close(
            terms["mse"].detach(), (weight * error).mean(), rtol=1e-4, atol=1e-6
        )


def test_snr_clip_bounds_the_weight_of_the_last_term():
    """The error in ε weighs (1 − ᾱ)/ᾱ in that of H x̃_0."""
    real, batch, drawn = volumes().pet, volumes(), waves(1)
    a = schedule.alpha_bar_at(batch.t)
    weight = (1 - a) / a
    clip = weight.median().item()  # some volumes are below, some above
    terms, _, _ = loss_of(drawn, drawn, training={"snr_clip": clip})
    errors = (high_frequency(drawn) - high_frequency(real)).square().mean((1, 2, 3, 4))
    expected = (errors / weight * weight.clamp(max=clip)).mean()
    torch.testing.assert_close(terms["high_mse"].detach(), expected, rtol=1e-3, atol=1e-6)


def test_only_the_network_learns():
    terms, network, source = loss_of(waves(1), waves(2))
    terms["loss"].backward()
    assert network.x_0.grad.abs().max() > 0
    assert source.x_0.grad is None


def test_as_the_authors_asks_the_networks_apart():
    terms, network, source = loss_of(waves(1), waves(2), as_authors=True)
    (x_t, t, mri), (of_source, t_of_source, _) = network.asked[0], source.asked[0]
    assert not torch.equal(t, t_of_source)
    assert not torch.equal(x_t, of_source)
    assert (mri - volumes().mri).std().item() == pytest.approx(1, abs=0.02)
    expected = consistency(waves(2), waves(1), as_authors=True)
    torch.testing.assert_close(terms["pairwise"].detach(), expected, rtol=1e-3, atol=0)
