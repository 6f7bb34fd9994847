"""The conditional GAN: its penalty by hand, and whose turn it is."""

from __future__ import annotations

import hashlib

import pytest
import torch

from mri2pet.baselines import find_baseline
from mri2pet.baselines.base import Phase
from mri2pet.baselines.draws import Draws
from mri2pet.baselines.wasserstein import penalty
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.modules import new_modules, new_parts
from mri2pet.training.state import TrainingState, load_state, save_state
from mri2pet.training.step import training_step

CPU = torch.device("cpu")
WORLD = World(0, 1, CPU)


def linear(weights):
    """D(x) = ⟨w, x⟩, [B]."""
    return lambda pet: (pet * weights).flatten(1).sum(1)


@pytest.mark.parametrize("count", [1, 4])
def test_penalty_of_a_linear_critic(count):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)
    real, fake = torch.randn(2, count, 1, 4, 4, 4, generator=generator, dtype=torch.float64)
    weights.requires_grad_()
    norm = weights.norm().item()
    for alpha in (0.0, 0.3, 1.0):
        found = penalty(linear(weights), real, fake, torch.full((count,), alpha))
        assert found.item() == pytest.approx((norm - 1) ** 2)
        (slope,) = torch.autograd.grad(found, weights)
        # d (‖w‖ − 1)² / dw = 2 (‖w‖ − 1) w / ‖w‖
        torch.testing.assert_close(slope, (2 * (norm - 1) / norm * weights).detach())
    unit = weights.detach() / norm
    assert penalty(linear(unit), real, fake, torch.rand(count)).item() == pytest.approx(0, abs=1e-9)


@pytest.fixture
def trained(small, pairs):
    """settings → a fresh state and what makes one update of it."""

    def make(*settings):
        config = small("training.baseline=gan", *settings)
        torch.manual_seed(0)
        state = TrainingState(new_parts(config, CPU, 1))
        batches = TrainingBatches(pairs, 0.75, 0.75, 3, augmented=False)
        return state, lambda: training_step(state, batches, config, WORLD)

    return make


def hashed(module):
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def test_phases_do_not_leak(trained, small, pairs):
    """Each phase gives gradients to its own part, and leaves the other as it was."""
    state, _ = trained()
    config = small("training.baseline=gan")
    batch = TrainingBatches(pairs, 0.75, 0.75, 3, augmented=False).batch(0, 4)
    modules = {name: part.module for name, part in state.parts.items()}
    for learning, other in (("critic", "generator"), ("generator", "critic")):
        for name, module in modules.items():
            module.zero_grad(set_to_none=True)
            module.train().requires_grad_(name == learning)
        before = hashed(modules[other])
        draws = Draws(0, learning, 0, 4, 6)
        gan = find_baseline("gan")
        gan.loss(Phase(learning), modules, {}, batch, draws, config)["loss"].backward()
        assert all(p.grad is None for p in modules[other].parameters())
        assert all(p.grad is not None for p in modules[learning].parameters())
        assert hashed(modules[other]) == before


def test_a_source_is_never_touched(small, pairs):
    config = small("training.baseline=cdc", "training.init=anything")
    torch.manual_seed(0)
    state = TrainingState(new_parts(config, CPU, 1))
    sources = new_modules(small("training.baseline=gan"), CPU)
    state.sources = {name: m.requires_grad_(False).eval() for name, m in sources.items()}
    before = [hashed(module) for module in state.sources.values()]
    batches = TrainingBatches(pairs, 0.75, 0.75, 3, augmented=False)
    for _ in range(10):
        training_step(state, batches, config, WORLD)
    assert [hashed(module) for module in state.sources.values()] == before
    assert all(p.grad is None for m in state.sources.values() for p in m.parameters())


@pytest.mark.parametrize(("n_critic", "expected"), [(2, 5), (3, 3)])
def test_generator_learns_every_second_update(trained, tmp_path, n_critic, expected):
    setting = f"baseline.n_critic={n_critic}"
    (state, step), learnt = trained(setting), 0
    for update in range(10):
        if update == 7:
            save_state(tmp_path, state)
            state, step = trained(setting)
            load_state(tmp_path, state)
        before = hashed(state.parts["generator"].module)
        facts = step()
        moved = hashed(state.parts["generator"].module) != before
        assert moved == ("generator_loss" in facts)
        learnt += moved
    assert learnt == expected


def test_a_batch_is_its_parts(small, pairs, monkeypatch):
    """Given the fakes and without dropout, the critic's gradients are a mean over volumes."""
    from mri2pet.baselines import networks

    monkeypatch.setattr(networks, "DROPOUT", 0.0)
    # One volume's norm takes the whole batch's statistics, so the fakes are drawn by running ones.
    monkeypatch.setattr(networks.BatchNorm, "train", lambda self, mode=True: self)
    found = []
    for micro_batch in (8, 4):
        more = (f"training.micro_batch={micro_batch}", "training.batch_size=8")
        config = small("training.baseline=gan", *more)
        torch.manual_seed(0)
        state = TrainingState(new_parts(config, CPU, 1))
        for module in state.parts["generator"].module.modules():
            module.training = False
        batches = TrainingBatches(pairs, 0.75, 0.75, 3, augmented=False)
        training_step(state, batches, config, WORLD)
        gradients = [p.grad.flatten() for p in state.parts["critic"].module.parameters()]
        found.append(torch.cat(gradients))
    whole, parts = found
    assert (whole - parts).norm() < 1e-5 * whole.norm()
