"""Each variation on a case done by hand, and where the baseline puts them."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines import diffaugment
from mri2pet.baselines.draws import Draws
from mri2pet.baselines.variations import (
    brightness,
    contrast,
    cutout,
    draw_variation,
    saturation_over_slices,
    translation,
)

from .cases import Case, configuration

SLICES, SIZE_I, SIZE_J = 3, 17, 14


def one_hot(*place: int) -> torch.Tensor:
    x = torch.zeros(1, 1, SLICES, SIZE_I, SIZE_J)
    x[(0, 0, *place)] = 1
    return x


def whole(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def waves(count: int = 2) -> torch.Tensor:
    return torch.randn(
        (count, 1, SLICES, SIZE_I, SIZE_J), generator=torch.Generator().manual_seed(0)
    )


def test_brightness():
    torch.testing.assert_close(brightness(waves(), numbers(0.5, 0.5)), waves())
    moved = brightness(waves(), numbers(0.0, 1.0)) - waves()
    torch.testing.assert_close(moved.mean((1, 2, 3, 4)), numbers(-0.5, 0.5))


def test_contrast_keeps_the_mean():
    x, u = waves(), numbers(0.0, 1.0)
    varied = contrast(x, u)
    torch.testing.assert_close(varied.mean((1, 2, 3, 4)), x.mean((1, 2, 3, 4)))
    torch.testing.assert_close(varied.std((1, 2, 3, 4)), x.std((1, 2, 3, 4)) * (u + 0.5))


def test_saturation_is_of_slices():
    x = waves()
    grey = saturation_over_slices(x, numbers(0.0, 0.5))
    torch.testing.assert_close(grey[0], x[0].mean(1, keepdim=True).expand_as(x[0]))
    torch.testing.assert_close(grey[1], x[1])


@pytest.mark.parametrize(("a", "b"), [(2, -1), (-2, 1), (0, 2), (0, 0)])
def test_a_voxel_moves_by_the_negative_shift(a, b):
    moved = translation(one_hot(1, 8, 7), whole(a), whole(b))
    assert torch.equal(moved, one_hot(1, 8 - a, 7 - b))


def test_a_voxel_leaves_at_the_border():
    assert translation(one_hot(0, 1, 5), whole(2), whole(0)).abs().sum() == 0
    assert translation(one_hot(0, 5, SIZE_J - 1), whole(0), whole(-1)).abs().sum() == 0


def test_volumes_move_apart():
    x = one_hot(1, 8, 7).repeat(2, 1, 1, 1, 1)
    moved = translation(x, whole(1, -1), whole(0, 2))
    assert torch.equal(moved, torch.cat((one_hot(1, 7, 7), one_hot(1, 9, 5))))


@pytest.mark.parametrize(
    ("centre", "rows"),
    [((0, 7), range(5)), ((8, 7), range(4, 13)), ((16, 7), range(12, 17))],
)
def test_cutout_is_a_box_cut_at_the_border(centre, rows):
    """9 of 17 places in I begin 4 before the centre; 7 of 14 in J begin 3 before it."""
    kept = cutout(torch.ones(1, 1, SLICES, SIZE_I, SIZE_J), whole(centre[0]), whole(centre[1]))
    expected = torch.ones(1, 1, SLICES, SIZE_I, SIZE_J)
    expected[:, :, :, rows.start : rows.stop, 4:11] = 0
    assert torch.equal(kept, expected)
    assert (kept == 0).sum() == SLICES * len(rows) * 7


def test_the_gradient_through_cutout_is_its_mask():
    x = waves(1).requires_grad_()
    varied = cutout(x, whole(8), whole(7))
    varied.sum().backward()
    assert torch.equal(x.grad, (varied != 0).float())


def test_variations_of_real_and_fake_differ_and_reach_their_ends():
    draws = Draws(0, "critic", 0, 400, 1)
    real, fake = (draw_variation(draws, of, 16, 18) for of in ("real", "fake"))
    assert not torch.equal(real.brightness, fake.brightness)
    assert not torch.equal(real.shift_i, fake.shift_i)
    # s = floor(16/8 + 0.5) = 2 and floor(18/8 + 0.5) = 2; w = 8 is even, 9 odd.
    assert set(real.shift_i.tolist()) == set(real.shift_j.tolist()) == set(range(-2, 3))
    assert set(real.cut_i.tolist()) == set(range(17))
    assert set(real.cut_j.tolist()) == set(range(18))


@pytest.fixture
def seen(monkeypatch):
    """(which, what came, what left) of every variation that a loss makes."""
    calls, vary = [], diffaugment._varied

    def spy(turn, pet, of):
        varied = vary(turn, pet, of)
        calls.append((of, pet, varied))
        return varied

    monkeypatch.setattr(diffaugment, "_varied", spy)
    return calls


def test_the_critic_sees_varied_pets_alone(seen, monkeypatch):
    case = Case("diffaugment")
    judged, joint = [], case.parts["critic"].joint
    monkeypatch.setattr(
        case.parts["critic"], "joint", lambda c, pet: judged.append(pet) or joint(c, pet)
    )
    case.loss("critic")
    (_, real, varied_real), (_, _, varied_fake) = seen
    assert real is case.batch.pet
    assert any(torch.equal(pet, varied_real) for pet in judged)
    assert any(torch.equal(pet, varied_fake) for pet in judged)
    alpha = case.draws("critic").uniform("alpha").reshape(-1, 1, 1, 1, 1)
    mixture = alpha * varied_real + (1 - alpha) * varied_fake
    assert any(torch.allclose(pet, mixture) for pet in judged)
    assert len(judged) == 3


def test_the_generator_learns_through_the_variation(seen):
    case = Case("diffaugment")
    terms = case.loss("generator")
    terms["loss"].backward()
    (of, drawn, varied) = seen[0]
    assert of == "fake"
    assert not torch.equal(drawn, varied)
    assert all(p.grad is not None for p in case.parts["generator"].parameters())
    assert all(p.grad is None for p in case.parts["critic"].parameters())


def test_as_the_authors_saturates():
    plain, authors = (Case("diffaugment", configuration(as_authors=a)) for a in (False, True))
    variation = draw_variation(plain.draws("critic"), "real", 32, 32)
    expected = variation(plain.batch.pet, as_authors=True)
    assert not torch.allclose(variation(plain.batch.pet), expected)
    assert abs(authors.loss("critic")["gap"]) < 1  # probabilities
