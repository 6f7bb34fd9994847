"""Consistency, contrasts and high frequencies on cases done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from mri2pet.baselines.pairwise import (
    consistency,
    critic_contrast,
    generator_contrast,
    high_frequency,
    mean_consistency,
)

ROWS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
ADAPTED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
OTHER_AXES = torch.eye(3)


def waves(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_consistency_by_hand():
    assert consistency(ROWS, ADAPTED).item() == pytest.approx(0.0786101, abs=1e-6)
    assert consistency(ADAPTED, ROWS).item() == pytest.approx(0.0731711, abs=1e-6)
    authors = consistency(ROWS, ADAPTED, as_authors=True)
    assert authors.item() == pytest.approx(-0.5438158, abs=1e-6)


def test_consistency_of_itself_is_zero():
    features = waves(5, 7).float().requires_grad_()
    value = consistency(features.detach(), features)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-7)
    assert features.grad.abs().max() < 1e-7


def test_consistency_is_of_directions_alone():
    source, adapted = waves(4, 6), waves(4, 6, seed=1)
    scales = torch.tensor([[0.1], [1.0], [7.0], [300.0]], dtype=torch.float64)
    expected = consistency(source, adapted)
    torch.testing.assert_close(consistency(source * scales, adapted), expected)
    torch.testing.assert_close(consistency(source, adapted * scales), expected)


def test_layers_count_alike():
    source, adapted = (waves(4, 6), waves(4, 60)), (waves(4, 6, seed=1), waves(4, 60, seed=1))
    one, two = (consistency(s, t) for s, t in zip(source, adapted, strict=True))
    torch.testing.assert_close(mean_consistency(source, adapted), (one + two) / 2)


def test_two_volumes_are_refused():
    with pytest.raises(ValueError, match="2 volumes"):
        consistency(ROWS[:2], ADAPTED[:2])


def test_similarities_are_wide_under_autocast():
    """In bfloat16 the difference of near-equal logits would be lost."""
    source, adapted = waves(4, 600).float(), waves(4, 600, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = consistency(source, adapted)
    torch.testing.assert_close(inside, consistency(source, adapted))


def test_contrast_by_hand():
    kept = math.log(1 + 2 / math.e)
    moved = OTHER_AXES.roll(1, 0)
    assert generator_contrast(OTHER_AXES, OTHER_AXES, temperature=1).item() == pytest.approx(kept)
    assert generator_contrast(OTHER_AXES, moved, temperature=1).item() == pytest.approx(
        math.log(2 + math.e)
    )
    without_positive = generator_contrast(OTHER_AXES, OTHER_AXES, temperature=1, as_authors=True)
    assert without_positive.item() == pytest.approx(math.log(2) - 1)
    of_critic = critic_contrast(OTHER_AXES, OTHER_AXES, OTHER_AXES, temperature=1)
    assert of_critic.item() == pytest.approx(kept)


def test_the_contrast_asks_with_the_adapted_volume():
    """Adapted volume 0 is like its source's, the others' sources are like adapted 0 as well."""
    source = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    adapted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert generator_contrast(source, adapted, temperature=1).item() == pytest.approx(math.log(3))


def test_own_real_pet_is_no_negative():
    y, w, x = waves(4, 6), waves(4, 6, seed=1), waves(4, 6, seed=2)
    moved = x.clone()
    moved[2] = waves(6, seed=3)
    assert not torch.isclose(critic_contrast(y, w, moved), critic_contrast(y, w, x))
    y[[0, 1, 3]] = 0  # whose rows then do not see what x is: row 2 alone is left
    torch.testing.assert_close(critic_contrast(y, w, moved), critic_contrast(y, w, x))


def test_high_frequency_by_hand():
    block = torch.tensor([[1.0, 2.0], [3.0, 8.0]]).reshape(1, 1, 1, 2, 2)
    assert high_frequency(block).item() == pytest.approx(9)
    assert high_frequency(block, as_authors=True).item() == pytest.approx(-5)
    assert high_frequency(torch.full((2, 1, 3, 4, 6), 5.0)).abs().max() < 1e-6


def test_high_frequency_is_the_sum_of_three_sub_bands():
    x = waves(1, 1, 1, 4, 6)
    low, high = (torch.tensor(v, dtype=torch.float64) / math.sqrt(2) for v in ((1, 1), (-1, 1)))
    kernel = torch.outer(low, high) + torch.outer(high, low) + torch.outer(high, high)
    expected = torch.nn.functional.conv2d(x[:, :, 0], kernel[None, None], stride=2)
    torch.testing.assert_close(high_frequency(x)[:, :, 0], expected)


def test_slices_stay_apart():
    x = waves(2, 1, 5, 4, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(high_frequency(x[:, :, order]), high_frequency(x)[:, :, order])
    assert high_frequency(x).shape == (2, 1, 5, 2, 3)
    assert high_frequency(x, as_authors=True).shape == (2, 1, 1, 2, 3)


def test_gradients():
    source, adapted, real = (waves(4, 5, seed=n).requires_grad_() for n in range(3))
    fixed = source.detach()
    for as_authors in (False, True):
        assert gradcheck(lambda t, a=as_authors: consistency(fixed, t, as_authors=a), adapted)
        assert gradcheck(
            lambda t, a=as_authors: generator_contrast(fixed, t, as_authors=a), adapted
        )
    assert gradcheck(critic_contrast, (adapted, source, real))
    volumes = waves(2, 1, 2, 4, 4).requires_grad_()
    assert gradcheck(high_frequency, volumes)


def test_the_source_gets_no_gradient():
    source, adapted = waves(4, 5).requires_grad_(), waves(4, 5, seed=1).requires_grad_()
    (consistency(source, adapted) + generator_contrast(source, adapted)).backward()
    assert source.grad is None
    assert adapted.grad is not None
