"""What is random of a micro-batch is a function of (seed, phase, name, volume)."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.draws import Draws


def draws(first=0, count=4, *, seed=0, phase="critic", pairs=10):
    return Draws(seed, phase, first, count, pairs)


@pytest.mark.parametrize(
    "draw",
    [
        lambda d: d.z(),
        lambda d: d.uniform("alpha"),
        lambda d: d.integers("shift", -5, 6),
        lambda d: d.kept("mask", 0.34, 20),
        lambda d: d.z_near_anchors(0.1),
    ],
)
def test_a_batch_is_its_parts(draw):
    parts = torch.cat([draw(draws(first, 2)) for first in (0, 2)])
    assert parts.dtype in (torch.float32, torch.int64)
    assert torch.equal(draw(draws()), parts)
    assert not torch.equal(draw(draws(seed=1)), parts)
    assert not torch.equal(draw(draws(phase="generator")), parts)
    assert not torch.equal(draw(draws(first=4)), parts)


def test_names_draw_apart():
    assert not torch.equal(draws().uniform("real"), draws().uniform("fake"))


def test_integers_reach_both_ends():
    values = draws(count=500).integers("shift", -2, 3)
    assert sorted(set(values.tolist())) == [-2, -1, 0, 1, 2]


def test_a_subset_has_its_number_and_is_fresh_by_name():
    first, second = draws().subset("0", 256, 192), draws().subset("1", 256, 192)
    assert first.sum() == second.sum() == 192
    assert not torch.equal(first, second)
    assert torch.equal(first, draws().subset("0", 256, 192))


def test_anchors_are_one_a_pair():
    """500 volumes around 3 anchors lie in 3 groups, whatever the part and the volume."""
    near = torch.cat([draws(count=250, phase=p, pairs=3).z_near_anchors(0) for p in "ab"])
    assert len(near.unique(dim=0)) == 3
    around = draws(count=250, phase="a", pairs=3).z_near_anchors(0.1) - near[:250]
    assert around.std().item() == pytest.approx(0.1, rel=0.05)


def test_noise_on_the_mri():
    mri = torch.full((2, 1, 16, 32, 32), 0.5)
    noise = draws(count=2).noisy(mri) - mri
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    assert not torch.equal(noise[0], noise[1])
