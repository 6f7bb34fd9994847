"""Shapes, sizes and the two traps of the GAN family's networks."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.networks import AuthorsCritic, BatchNorm, Critic, Generator
from mri2pet.baselines.wasserstein import penalty
from mri2pet.config import ModelConfig
from mri2pet.errors import UsageError
from mri2pet.stages import load_config

SHAPE = (16, 32, 32)


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE)


def volumes(count, seed=0):
    return torch.rand((count, 1, *SHAPE), generator=torch.Generator().manual_seed(seed))


def noise(count, seed=0):
    return torch.randn((count, 256), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("preset", "of_generator", "of_critic"),
    [("paper", 5_725_297, 8_635_809), ("compact", 842_673, 2_278_817)],
)
def test_numbers_of_parameters(preset, of_generator, of_critic):
    model = load_config(preset).model
    with torch.device("meta"):
        networks = (Generator(model), Critic(model), Critic(model, patches=True))
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sizes == [of_generator, of_critic, of_critic + 32 * 27 + 1]


def test_shapes(config):
    generator, critic = Generator(config), Critic(config, patches=True)
    pet, activations = generator.draw(generator.encode(volumes(3)), noise(3))
    assert pet.shape == (3, 1, *SHAPE)
    assert pet.abs().max() < 1
    assert [a.shape[1] for a in activations] == [128, 2048, 16384, 65536, 131072]
    joint = critic.joint(critic.encode(volumes(3)), pet)
    assert [f.shape[1] for f in critic.features(joint)] == [512, 512, 512, 256, 128]
    assert critic.score(joint).shape == (3,)
    assert critic.patch_map(pet).shape == (3, 1, 2, 4, 4)


def test_a_shape_that_cannot_grow_is_refused():
    with pytest.raises(UsageError, match=r"model\.pet_shape 16x48x32: .* multiples of 16x32x32"):
        Generator(ModelConfig(mri_shape=SHAPE, pet_shape=(16, 48, 32)))


@pytest.mark.parametrize("made", [Critic, AuthorsCritic])
@pytest.mark.parametrize("count", [1, 4])
def test_the_critic_can_be_differentiated_twice(config, made, count):
    critic = made(config, patches=True)
    condition = critic.encode(volumes(count))
    for score in (
        lambda pet: critic.score(critic.joint(condition, pet)),
        lambda pet: critic.patch_score(condition, pet),
    ):
        critic.zero_grad()
        value = penalty(score, volumes(count, 1), volumes(count, 2), torch.rand(count))
        value.backward(retain_graph=True)
        assert critic.pet_encoder.conv[0].weight.grad.abs().max() > 0


def test_every_entry_of_a_state_can_be_averaged(config):
    for network in (Generator(config), Critic(config, patches=True)):
        state = network.state_dict()
        assert all(value.is_floating_point() for value in state.values())
        network.load_state_dict(state)


def test_the_norm_is_torchs():
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm3d(3)
    x = 2 + 3 * torch.randn((4, 3, 2, 2, 2), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        torch.testing.assert_close(ours(x), theirs(x))
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_draw_that_does_not_learn_leaves_the_running_statistics(config):
    generator = Generator(config)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with torch.no_grad():
        drawn = generator(noise(4), volumes(4))
    after = generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # ... and is by the statistics of the batch all the same.
    torch.testing.assert_close(generator(noise(4), volumes(4)).detach(), drawn)
    assert not torch.equal(after["blocks.0.norm.running_mean"], torch.zeros(8))


def test_dropout_can_be_left_out(config):
    critic = Critic(config)
    joint = noise(2).repeat(1, 2)
    torch.manual_seed(0)
    first, second = (critic.features(joint) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    whole = critic.features(joint, dropout=False)
    for feature, known in zip(whole, critic.eval().features(joint), strict=True):
        assert torch.equal(feature, known)


def test_the_authors_scores_are_probabilities(config):
    critic = AuthorsCritic(config, patches=True)
    condition = critic.encode(volumes(2))
    pet = 100 * volumes(2, 1)
    for scores in (critic.score(critic.joint(condition, pet)), critic.patch_score(condition, pet)):
        assert scores.min() >= 0
        assert scores.max() <= 1
