"""What MaskGAN hides from its critic, and the consistency on the critic."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.cdc import IMAGE, PATCH
from mri2pet.baselines.pairwise import mean_consistency

from .cases import Case, configuration


def scored_joints(case: Case, part: str, kind: str, monkeypatch) -> list[torch.Tensor]:
    """What the whole head read in the evaluations that score, in order."""
    seen, critic = [], case.parts["critic"]
    score = critic.score
    monkeypatch.setattr(critic, "score", lambda j: seen.append(j.detach()) or score(j))
    case.loss(part, kind)
    monkeypatch.undo()
    return seen


def test_mask(monkeypatch):
    case = Case("maskgan")
    joints = scored_joints(case, "critic", IMAGE, monkeypatch)
    joints += scored_joints(case, "generator", IMAGE, monkeypatch)
    assert len(joints) == 4  # mixture, real, fake; then what the generator drew
    condition = case.parts["critic"].encode(case.batch.mri).detach()
    hidden = []
    for joint in joints:
        torch.testing.assert_close(joint[:, :256], condition)
        zero = joint[:, 256:] == 0
        assert torch.equal(zero, zero[:1].expand_as(zero))
        assert zero[0].sum() == 192
        hidden.append(zero[0])
    assert all(
        not torch.equal(a, b) for n, a in enumerate(hidden) for b in hidden[n + 1 :]
    )  # fresh in each evaluation


def test_kept_values_are_as_they_were(monkeypatch):
    case = Case("maskgan")
    joint = scored_joints(case, "critic", IMAGE, monkeypatch)[1]
    pet = case.parts["critic"].pet_encoder(case.batch.pet).detach()
    kept = joint[:, 256:] != 0
    torch.testing.assert_close(joint[:, 256:][kept], pet[kept])


def test_patch_steps_are_not_masked(monkeypatch):
    case = Case("maskgan")
    assert scored_joints(case, "critic", PATCH, monkeypatch) == []
    maps, critic = [], case.parts["critic"]
    patch_map = critic.patch_map
    monkeypatch.setattr(critic, "patch_map", lambda p: maps.append(p) or patch_map(p))
    case.loss("critic", PATCH)
    assert any(torch.equal(pet, case.batch.pet) for pet in maps)
    assert len(maps) == 3


@pytest.mark.parametrize("kind", [IMAGE, PATCH])
def test_consistency_on_the_critic(kind):
    """C of features without mask and dropout, over the same noise in both generators."""
    weight = 1e6  # for the features of networks that have learnt nothing are much alike
    case = Case("maskgan", configuration(critic_consistency=weight))
    terms = case.loss("critic", kind)
    draws, mri = case.draws("critic"), case.batch.mri
    z = draws.normal("free z", 256) if kind == IMAGE else draws.z()

    def features(networks):
        critic = networks["critic"]
        pet = networks["generator"](z, mri)
        return critic.features(critic.joint(critic.encode(mri), pet), dropout=False)

    with torch.no_grad():
        expected = mean_consistency(features(case.sources), features(case.parts))
    torch.testing.assert_close(terms["consistency"].detach(), expected, rtol=1e-3, atol=0)
    rest = -terms["gap"] + 10 * terms["penalty"]
    torch.testing.assert_close(terms["loss"], rest + weight * terms["consistency"])
    assert weight * expected > 0.1


def test_an_unchanged_pair_is_consistent():
    """But for the batch statistics of the generator that learns."""
    case = Case("maskgan")
    case.start_from_source()
    case.parts["generator"].eval()
    assert abs(case.loss("critic", PATCH)["consistency"]) < 1e-7


def test_as_the_authors_hides_all_or_nothing_from_the_critic_alone(monkeypatch):
    case = Case("maskgan", configuration(as_authors=True))
    joints = scored_joints(case, "critic", IMAGE, monkeypatch)
    mixture, *masked = joints
    assert (mixture != 0).any(1).all()
    rows = torch.stack([(joint != 0).any(1) for joint in masked])
    assert not rows.all()
    (drawn,) = scored_joints(case, "generator", PATCH, monkeypatch)
    assert (drawn != 0).any(1).all()
