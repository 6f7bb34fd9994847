"""The kinds of step of CDC, what judges them, and the consistency on the generator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mri2pet.baselines.base import Phase
from mri2pet.baselines.cdc import BASELINE, IMAGE, PATCH
from mri2pet.baselines.pairwise import mean_consistency
from mri2pet.randomness import random_of

from .cases import Case, configuration


@pytest.mark.parametrize("n_critic", [1, 2, 3])
def test_kinds_of_step(n_critic):
    """Both heads meet generator steps."""
    config = configuration(n_critic=n_critic)
    turns = [phase for u in range(8 * n_critic) for phase in BASELINE.phases(u, config)]
    of_generator = [phase.kind for phase in turns if phase.part == "generator"]
    assert of_generator == [IMAGE, PATCH, PATCH, PATCH] * 2
    of_critic = [phase.kind for phase in turns if phase.part == "critic"]
    assert of_critic == [kind for kind in of_generator for _ in range(n_critic)]


def noise_of(case: Case, part: str, kind: str, monkeypatch) -> list[torch.Tensor]:
    """Every z that the generator under training gets."""
    seen, generator = [], case.parts["generator"]
    draw = generator.draw
    monkeypatch.setattr(generator, "draw", lambda c, z: seen.append(z) or draw(c, z))
    case.loss(part, kind)
    return seen


def distance_to_anchors(z: torch.Tensor, pairs: int = 5) -> torch.Tensor:
    """Of each row to the nearest of them, [B]."""
    anchors = [random_of(0, "anchor", k).standard_normal(256) for k in range(pairs)]
    return torch.cdist(z, torch.tensor(np.array(anchors)).float()).min(1).values


@pytest.mark.parametrize("part", ["critic", "generator"])
@pytest.mark.parametrize(("kind", "as_authors"), [(IMAGE, False), (PATCH, True)])
def test_judged_noise_lies_near_anchors(part, kind, as_authors, monkeypatch):
    case = Case("cdc", configuration(as_authors=as_authors))
    judged, *free = noise_of(case, part, kind, monkeypatch)
    distance = distance_to_anchors(judged)
    assert distance.max() < 0.1 * math.sqrt(256) * 1.3
    assert distance.min() > 0.1 * math.sqrt(256) * 0.7
    assert len(free) == (part == "generator")
    for z in free:
        assert distance_to_anchors(z).min() > 10


@pytest.mark.parametrize(("kind", "as_authors"), [(PATCH, False), (IMAGE, True)])
def test_other_noise_is_free(kind, as_authors, monkeypatch):
    case = Case("cdc", configuration(as_authors=as_authors))
    (z,) = noise_of(case, "generator", kind, monkeypatch)
    assert distance_to_anchors(z).min() > 10


@pytest.fixture
def heads(monkeypatch):
    """Which head each evaluation of a case's critic went through."""

    def watch(case: Case) -> list[str]:
        seen, critic = [], case.parts["critic"]
        score, patch_score = critic.score, critic.patch_score
        monkeypatch.setattr(critic, "score", lambda j: seen.append(IMAGE) or score(j))
        monkeypatch.setattr(
            critic, "patch_score", lambda c, p: seen.append(PATCH) or patch_score(c, p)
        )
        return seen

    return watch


@pytest.mark.parametrize("kind", [IMAGE, PATCH])
def test_the_head_is_the_same_for_real_fake_and_penalty(kind, heads):
    case = Case("cdc")
    seen = heads(case)
    case.loss("critic", kind)
    assert seen == [kind] * 3
    case.loss("generator", kind)
    assert seen == [kind] * 4


def test_as_the_authors_penalises_the_whole_head(heads):
    case = Case("cdc", configuration(as_authors=True))
    seen = heads(case)
    case.loss("critic", PATCH)
    assert sorted(seen) == sorted([IMAGE, PATCH, PATCH])


@pytest.mark.parametrize("kind", [IMAGE, PATCH])
def test_the_generators_loss(kind):
    """−mean score + 1000 · C of the same noise in both generators."""
    case = Case("cdc")
    terms = case.loss("generator", kind)
    draws, source = case.draws("generator"), case.sources["generator"]
    z = draws.normal("free z", 256) if kind == IMAGE else draws.z()
    adapted, mri = case.parts["generator"], case.batch.mri
    with torch.no_grad():
        of_source = source.draw(source.encode(mri), z)[1]
        expected = mean_consistency(of_source, adapted.draw(adapted.encode(mri), z)[1])
        near = draws.z_near_anchors(0.1) if kind == IMAGE else z
        drawn = adapted(near, mri)
        critic = case.parts["critic"]
        torch.manual_seed(7)
        condition = critic.encode(mri)
        scores = (
            critic.score(critic.joint(condition, drawn))
            if kind == IMAGE
            else critic.patch_score(condition, drawn)
        )
    torch.testing.assert_close(terms["consistency"].detach(), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["loss"].detach(), 1000 * expected - scores.mean())


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("part", "kind", "other"), [("critic", PATCH, "generator"), ("generator", IMAGE, "critic")]
)
def test_a_turn_leaves_all_others_alone(part, kind, other):
    case = Case("cdc")
    others = [case.parts[other], *case.sources.values()]
    before = [state_of(module) for module in others]
    case.loss(part, kind)["loss"].backward()
    for module, values in zip(others, before, strict=True):
        assert all(p.grad is None for p in module.parameters())
        after = module.state_dict()
        assert all(torch.equal(values[name], after[name]) for name in values)


def test_as_the_authors_adds_noise_to_the_mri(monkeypatch):
    for as_authors in (False, True):
        case = Case("cdc", configuration(as_authors=as_authors))
        seen, encode = [], case.parts["critic"].encode
        monkeypatch.setattr(
            case.parts["critic"], "encode", lambda m, s=seen, e=encode: s.append(m) or e(m)
        )
        case.loss("critic", IMAGE)
        (mri,) = seen  # encoded once a turn
        assert (mri - case.batch.mri).std().item() == pytest.approx(float(as_authors), abs=0.02)


def test_phases_are_plain_values():
    assert BASELINE.phases(1, configuration())[1] == Phase("generator", IMAGE)
