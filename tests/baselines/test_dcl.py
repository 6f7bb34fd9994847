"""Both contrasts of DCL: what they compare, and their weights."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.pairwise import critic_contrast, generator_contrast

from .cases import Case, configuration


def mean_over_layers(contrast, *sets):
    return torch.stack([contrast(*layer) for layer in zip(*sets, strict=True)]).mean()


def test_the_generators_loss():
    """−mean score + 2 · L₁ of the same noise in both generators."""
    case = Case("dcl")
    terms = case.loss("generator")
    mri, z = case.batch.mri, case.draws("generator").z()
    source, adapted, critic = case.sources["generator"], *case.parts.values()
    with torch.no_grad():
        of_source = source.draw(source.encode(mri), z)[1]
        drawn, activations = adapted.draw(adapted.encode(mri), z)
        expected = mean_over_layers(generator_contrast, of_source, activations)
        torch.manual_seed(7)
        score = critic(drawn, mri).mean()
    torch.testing.assert_close(terms["contrast"].detach(), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["loss"].detach(), 2 * expected - score)


def test_the_critics_loss():
    """WGAN-GP + 0.5 · L₂ of features without dropout, the critic's that learns for all three."""
    case = Case("dcl")
    terms = case.loss("critic")
    mri, z, critic = case.batch.mri, case.draws("critic").z(), case.parts["critic"]

    def features(pet):
        return critic.features(critic.joint(critic.encode(mri), pet), dropout=False)

    with torch.no_grad():
        y, w = case.parts["generator"](z, mri), case.sources["generator"](z, mri)
        expected = mean_over_layers(
            critic_contrast, features(y), features(w), features(case.batch.pet)
        )
    torch.testing.assert_close(terms["contrast"].detach(), expected, rtol=1e-3, atol=0)
    rest = -terms["gap"] + 10 * terms["penalty"]
    torch.testing.assert_close(terms["loss"], rest + 0.5 * terms["contrast"])


def test_the_contrast_reaches_the_critic_alone():
    case = Case("dcl")
    case.loss("critic")["contrast"].backward()
    critic = case.parts["critic"]
    # L₂ is of features before the last layer, and there is no patch head.
    assert {name for name, p in critic.named_parameters() if p.grad is None} == {
        "last.weight",
        "last.bias",
    }
    assert all(p.grad is None for p in case.parts["generator"].parameters())
    assert all(p.grad is None for p in case.sources["generator"].parameters())


def test_encoders_run_once_a_pet(monkeypatch):
    case = Case("dcl")
    seen, critic = [], case.parts["critic"]
    joint = critic.joint
    monkeypatch.setattr(critic, "joint", lambda c, pet: seen.append(pet) or joint(c, pet))
    case.loss("critic")
    assert len(seen) == 4  # drawn, the source's, real, mixture


def test_as_the_authors_masks_and_drops(monkeypatch):
    case = Case("dcl", configuration(as_authors=True))
    seen, critic = [], case.parts["critic"]
    features = critic.features

    def spy(joint, *, dropout=None):
        seen.append((joint.detach(), dropout))
        return features(joint, dropout=dropout)

    monkeypatch.setattr(critic, "features", spy)
    case.loss("critic")
    compared = [joint for joint, dropout in seen if dropout]
    assert len(compared) == 3
    for joint in compared:
        assert (joint != 0).float().mean().item() == pytest.approx(0.34, abs=0.04)
    assert not torch.equal(compared[0] != 0, compared[1] != 0)
