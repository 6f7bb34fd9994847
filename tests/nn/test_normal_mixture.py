"""Mixtures of normal distributions against samples whose distribution is known."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from mri2pet.nn.normal_mixture import NARROWEST, fit_mixture, mixture_mean

#: Share, mean and standard deviation of the two kinds of people of a made-up amyloid level.
LOW, HIGH = (0.6, -0.5, 0.2), (0.4, 0.75, 0.8)


def skewed(count: int) -> torch.Tensor:
    """The quantiles of the mixture of `LOW` and `HIGH`, in an order that tells nothing."""
    parts = [
        torch.tensor([NormalDist(mean, sd).inv_cdf((i + 0.5) / n) for i in range(n)])
        for share, mean, sd in (LOW, HIGH)
        for n in (round(share * count),)
    ]
    sample = torch.cat(parts).double()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return (sample - sample.mean())[order]


def of(sample: torch.Tensor, normals: int = 2) -> torch.Tensor:
    """The mixture where nothing is predicted."""
    return fit_mixture(torch.zeros_like(sample), sample, normals)


def test_a_skewed_sample_is_told_from_a_normal_one():
    sample = skewed(1000)
    odds, lean, means, drift, variances = of(sample).unbind(1)
    for k, (share, mean, sd) in enumerate((LOW, HIGH)):
        assert odds[k].exp() == pytest.approx(share, abs=0.01)
        assert means[k] == pytest.approx(mean, abs=0.03)
        assert variances[k].sqrt() == pytest.approx(sd, rel=0.03)
    assert (lean == 0).all()
    assert (drift == 0).all()
    assert odds.exp() @ means == pytest.approx(0, abs=1e-9)
    square = odds.exp() @ (variances + means.square())
    assert square == pytest.approx(float(sample.square().mean()))


def test_a_prediction_moves_the_odds_and_each_mean_by_itself():
    """Of two kinds of people whose predictions differ, only one kind's number follows them."""
    g = torch.Generator().manual_seed(1)
    count, high = 4000, torch.arange(4000) % 5 < 2
    predicted = torch.where(high, 3.0, -2.0) + 4 * torch.randn(count, generator=g)
    noise = torch.randn(count, generator=g)
    measured = torch.where(high, 20 + 0.7 * predicted + 6 * noise, -10 + 2 * noise)
    # Least squares, as the denoiser predicts.
    centred, measured = (v.double() - v.double().mean() for v in (predicted, measured))
    slope = float(centred @ measured / centred.square().sum())
    d, left = slope * centred, measured - slope * centred
    mixture = fit_mixture(d, left, 2)
    odds, lean, _, drift, variance = mixture.unbind(1)
    assert float(lean[1] - lean[0]) == pytest.approx(5 / 16 / slope, rel=0.1)
    likely = float((odds + lean * d.mean()).softmax(0)[1])  # at a prediction of 0
    assert likely == pytest.approx(0.4 / (0.4 + 0.6 * math.exp(0.5 * 5 / 16)), abs=0.03)
    assert 1 + float(drift[0]) == pytest.approx(0, abs=0.05)
    assert 1 + float(drift[1]) == pytest.approx(0.7 / slope, rel=0.1)
    assert variance.sqrt().tolist() == pytest.approx([2, 6], rel=0.05)
    beyond = mixture_mean(mixture[None], d[:, None])[:, 0]
    assert float(beyond.mean()) == pytest.approx(0, abs=0.05)
    assert float((left - beyond).square().mean()) < 0.99 * float(left.square().mean())


def test_the_order_and_the_unit_say_nothing():
    predicted, sample = torch.linspace(-1, 1, 200).double(), skewed(200)
    found = fit_mixture(predicted, sample, 2)
    order = sample.argsort()
    other = fit_mixture(50 * predicted[order], 50 * sample[order], 2)
    units = torch.tensor([1, 1 / 50, 50, 1, 2500], dtype=torch.float64)
    torch.testing.assert_close(other, found * units)


@pytest.mark.parametrize("count", [1, 9, 63, 64, 1000])
def test_a_normal_sample_is_one_normal_distribution(count):
    sample = torch.randn(count, generator=torch.Generator().manual_seed(count)).double()
    sample -= sample.mean()
    variance = float(sample.square().mean().clamp_min(1e-12))
    wanted = torch.tensor([math.log(0.5), 0, 0, 0, variance], dtype=torch.float64)
    torch.testing.assert_close(of(sample), wanted.expand(2, 5))
    torch.testing.assert_close(of(sample, 1)[0, 1:], wanted[1:])
    assert of(sample, 1)[0, 0] == 0


def test_few_people_are_one_normal_distribution_however_skewed():
    assert of(skewed(60))[0].equal(of(skewed(60))[1])
    assert not of(skewed(70))[0].equal(of(skewed(70))[1])


@pytest.mark.parametrize("high", [2, 20, 198])
def test_no_normal_is_too_narrow_or_too_rare(high):
    """Of 200 numbers all but a few are the same."""
    sample = torch.zeros(200, dtype=torch.float64)
    sample[:high] = 1.0
    sample -= sample.mean()
    odds, _, _, _, variances = of(sample).unbind(1)
    assert float(odds.exp().min()) > 0.049
    assert float(odds.exp().sum()) == pytest.approx(1)
    assert math.sqrt(variances.min() / sample.square().mean()) >= NARROWEST - 1e-9
