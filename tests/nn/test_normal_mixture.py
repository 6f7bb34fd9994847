"""Mixtures of normal distributions against samples whose distribution is known."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from mri2pet.nn.normal_mixture import NARROWEST, RAREST, fit_mixture

#: Weight, mean and standard deviation of the two kinds of people of a made-up amyloid level.
LOW, HIGH = (0.6, -0.5, 0.2), (0.4, 0.75, 0.8)


def skewed(count: int) -> torch.Tensor:
    """The quantiles of the mixture of `LOW` and `HIGH`, in an order that tells nothing."""
    parts = [
        torch.tensor([NormalDist(mean, sd).inv_cdf((i + 0.5) / n) for i in range(n)])
        for weight, mean, sd in (LOW, HIGH)
        for n in (round(weight * count),)
    ]
    sample = torch.cat(parts).double()
    return (sample - sample.mean())[
        torch.randperm(count, generator=torch.Generator().manual_seed(0))
    ]


def test_a_skewed_sample_is_told_from_a_normal_one():
    sample = skewed(1000)
    weights, means, variances = fit_mixture(sample, 2).unbind(1)
    for k, (weight, mean, sd) in enumerate((LOW, HIGH)):
        assert weights[k] == pytest.approx(weight, abs=0.01)
        assert means[k] == pytest.approx(mean, abs=0.03)
        assert variances[k].sqrt() == pytest.approx(sd, rel=0.03)
    assert weights @ means == pytest.approx(0, abs=1e-12)
    square = weights @ (variances + means.square())
    assert square == pytest.approx(float(sample.square().mean()))


def test_the_order_and_the_unit_say_nothing():
    sample = skewed(200)
    found, other = fit_mixture(sample, 2), fit_mixture(50 * sample.sort().values, 2)
    torch.testing.assert_close(other, found * torch.tensor([1.0, 50, 2500], dtype=torch.float64))


@pytest.mark.parametrize("count", [1, 9, 63, 64, 1000])
def test_a_normal_sample_is_one_normal_distribution(count):
    sample = torch.randn(count, generator=torch.Generator().manual_seed(count)).double()
    sample -= sample.mean()
    variance = float(sample.square().mean().clamp_min(1e-12))
    wanted = torch.tensor([0.5, 0.0, variance], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(fit_mixture(sample, 2), wanted)
    torch.testing.assert_close(fit_mixture(sample, 1), wanted[:1] * torch.tensor([2.0, 1, 1]))


def test_few_numbers_are_one_normal_distribution_however_skewed():
    assert fit_mixture(skewed(60), 2)[0].equal(fit_mixture(skewed(60), 2)[1])
    assert not fit_mixture(skewed(70), 2)[0].equal(fit_mixture(skewed(70), 2)[1])


@pytest.mark.parametrize("high", [2, 20, 198])
def test_no_normal_is_too_narrow_or_too_rare(high):
    """Of 200 numbers all but a few are the same."""
    sample = torch.zeros(200, dtype=torch.float64)
    sample[:high] = 1.0
    sample -= sample.mean()
    weights, means, variances = fit_mixture(sample, 2).unbind(1)
    assert float(weights.min()) >= RAREST - 1e-12
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights @ means) == pytest.approx(0, abs=1e-12)
    assert math.sqrt(variances.min() / sample.square().mean()) >= NARROWEST - 1e-9
