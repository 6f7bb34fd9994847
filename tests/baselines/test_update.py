"""One update after another beside a loop written by hand: order, weights, Adam and averages."""

from __future__ import annotations

import copy

import pytest
import torch

from mri2pet.baselines import networks
from mri2pet.baselines.draws import Draws
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.modules import new_parts
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState
from mri2pet.training.step import training_step

CPU = torch.device("cpu")
AT_ONCE, BATCH = 4, 8


def batches(pairs) -> TrainingBatches:
    return TrainingBatches(pairs, 0.75, 0.75, 3, augmented=False)


class ByHand:
    """WGAN-GP as it stands in Gulrajani et al. 2017, with two micro-batches to an update."""

    def __init__(self, state: TrainingState, pairs, seed: int) -> None:
        modules = {name: copy.deepcopy(part.module) for name, part in state.parts.items()}
        self.generator, self.critic = modules["generator"], modules["critic"]
        self.batches, self.pairs, self.seed = batches(pairs), len(pairs), seed
        self.adam = {
            name: torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.0, 0.9))
            for name, module in modules.items()
        }
        self.average = {name: copy.deepcopy(m.state_dict()) for name, m in modules.items()}

    def update(self, number: int) -> None:
        self.turn("critic", self.critic_loss, number)
        if number % 2 == 1:
            self.turn("generator", self.generator_loss, number)
        decay = min(0.995, (2 + number) / (11 + number))
        for name, module in (("generator", self.generator), ("critic", self.critic)):
            for key, value in module.state_dict().items():
                old = self.average[name][key]
                self.average[name][key] = decay * old + (1 - decay) * value

    def turn(self, part, loss, number):
        self.generator.zero_grad()
        self.critic.zero_grad()
        for first in range(BATCH * number, BATCH * (number + 1), AT_ONCE):
            draws = Draws(self.seed, part, first, AT_ONCE, self.pairs)
            (loss(self.batches.batch(first, AT_ONCE), draws) / 2).backward()
        self.adam[part].step()

    def critic_loss(self, batch, draws):
        with torch.no_grad():  # a copy, for the norms of this one follow its own turn alone
            fake = copy.deepcopy(self.generator)(draws.z(), batch.mri)
        alpha = draws.uniform("alpha").reshape(-1, 1, 1, 1, 1)
        mixture = (alpha * batch.pet + (1 - alpha) * fake).requires_grad_()
        score = self.critic(mixture, batch.mri).sum()
        (slope,) = torch.autograd.grad(score, mixture, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        real, drawn = self.critic(batch.pet, batch.mri), self.critic(fake, batch.mri)
        return drawn.mean() - real.mean() + 10 * penalty

    def generator_loss(self, batch, draws):
        return -self.critic(self.generator(draws.z(), batch.mri), batch.mri).mean()


def moved(module, before, names):
    """What the parameters went, in one vector."""
    values = dict(module.named_parameters())
    return torch.cat([(values[name] - before[name]).detach().flatten() for name in names])


def test_updates_are_those_of_the_loop_by_hand(small, pairs, monkeypatch):
    """The critic first, the generator against the critic that has just learnt; each clears its
    gradients, and the generator's running statistics follow its own turn alone."""
    monkeypatch.setattr(networks, "DROPOUT", 0.0)
    config = small("training.baseline=gan", f"training.batch_size={BATCH}")
    torch.manual_seed(0)
    state = TrainingState(new_parts(config, CPU, 1))
    hand = ByHand(state, pairs, config.training.seed)
    start = {
        name: dict(copy.deepcopy(p.module).named_parameters()) for name, p in state.parts.items()
    }
    for number in range(4):
        training_step(state, batches(pairs), config, World(0, 1, CPU))
        hand.update(number)
    for name, ours in state.parts.items():
        theirs = hand.generator if name == "generator" else hand.critic
        a, b = (moved(module, start[name], start[name]) for module in (ours.module, theirs))
        assert a.norm() > 0
        # Adam goes as far where a gradient is all rounding: not every step is alike.
        assert (a - b).norm() < 0.02 * b.norm()
        for key, value in hand.average[name].items():
            torch.testing.assert_close(ours.average[key], value, rtol=1e-3, atol=1e-5)
            if "running" in key:
                found = ours.module.state_dict()[key]
                torch.testing.assert_close(found, theirs.state_dict()[key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("as_authors", "betas"), [(False, (0.0, 0.9)), (True, (0.9, 0.999))])
def test_adam_of_a_gan(small, as_authors, betas):
    config = small("training.baseline=gan", f"baseline.as_authors={str(as_authors).lower()}")
    for part in new_parts(config, CPU, 1).values():
        (group,) = part.optimizer.param_groups
        assert (group["betas"], group["lr"]) == (betas, 1e-4)


def test_adam_of_ddpm_pa_is_the_house_s(small):
    config = small("training.baseline=ddpm-pa", "training.init=any", "baseline.as_authors=true")
    (part,) = new_parts(config, CPU, 1).values()
    assert part.optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.fixture
def other_process(monkeypatch):
    """Whatever is summed over the processes, the second one gives twice what this one has."""
    monkeypatch.setattr("torch.distributed.all_reduce", lambda flat: flat.mul_(3))
    return World(0, 2, CPU)


def test_gradients_of_all_processes_are_averaged(other_process):
    part = Part(torch.nn.Linear(3, 2), 1e-4, 0.9)
    for parameter in part.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm = part.update(1e-4, None, other_process)
    assert all((p.grad == 1.5).all() for p in part.module.parameters())
    assert float(norm) == pytest.approx(1.5 * 8**0.5)


def test_running_statistics_are_averaged_once_an_update(small, pairs, other_process, monkeypatch):
    """Learnt values are not: all processes make the same step."""
    config = small("training.baseline=gan", "training.batch_size=8", "baseline.n_critic=1")
    torch.manual_seed(0)
    state = TrainingState(new_parts(config, CPU, 1))
    part = state.parts["generator"]
    seen, share = [], Part.share_statistics

    def spy(self, world):
        before = {k: v.clone() for k, v in self.module.state_dict().items()}
        share(self, world)
        if self is part:
            seen.append((before, {k: v.clone() for k, v in self.module.state_dict().items()}))

    monkeypatch.setattr(Part, "share_statistics", spy)
    training_step(state, batches(pairs), config, other_process)
    ((before, after),) = seen
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] * (1.5 if "running" in name else 1))
        # What is averaged over the updates is what was averaged over the processes.
        torch.testing.assert_close(part.module.state_dict()[name], value)
