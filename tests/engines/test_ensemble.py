"""Models that take turns: each sample is its model's own; models that do not fit are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mri2pet.baselines.networks import Generator
from mri2pet.checkpoint import Model, save_model
from mri2pet.config import ModelConfig
from mri2pet.engines import load_engine
from mri2pet.engines.choose import engine_of
from mri2pet.engines.ensemble import Ensemble, described_members, members_of, memory_plan
from mri2pet.engines.sampling import sample, sample_subjects
from mri2pet.errors import ModelError, UsageError
from mri2pet.memory import sampling_plan
from mri2pet.nn import Network

SHAPE = (16, 32, 32)
QUICK = {"steps": 2, "seed": 9, "subject": 2**63 + 5, "batch": 1}
MEANS, DEVIATIONS = (1.0, 1.3, 0.7), (0.5, 0.25, 0.4)


def model(seed: int, mean: float, deviation: float, **settings: Any) -> Model:
    """A model with random weights of its own."""
    torch.manual_seed(seed)
    given = {"mri_shape": SHAPE, "pet_shape": SHAPE, "prediction": "v", "cond": "concat"}
    network = Network(ModelConfig(**{**given, **settings})).eval()
    return Model(network, network.config, mean, deviation, f"m{seed}", sha256=f"{seed}" * 64)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    """Three, each with its own mean and deviation; the second predicts ε."""
    predictions = ("v", "epsilon", "v")
    return [
        model(seed, mean, deviation, prediction=prediction)
        for seed, (mean, deviation, prediction) in enumerate(
            zip(MEANS, DEVIATIONS, predictions, strict=True)
        )
    ]


@pytest.fixture(scope="module")
def mri() -> torch.Tensor:
    return torch.rand(2, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))


def alone(model: Model, mri: torch.Tensor, samples: int) -> torch.Tensor:
    """Samples of one model in the unit that it learnt."""
    return sample(model, mri, samples=samples, **QUICK) * model.pet_std + model.pet_mean


@pytest.mark.parametrize("sampler", ["dpmpp", "ddpm"])
def test_sample_k_is_the_sample_k_of_model_k_mod_m(models, mri, sampler):
    ensemble = load_engine(models)
    assert (ensemble.pet_mean, ensemble.pet_std) == (0.0, 1.0)
    drawn = sample(ensemble, mri[:1], samples=4, sampler=sampler, **QUICK)
    assert drawn.shape == (4, 1, 16, 32, 32)
    for k in range(4):
        member = models[k % 3]
        own = sample(member, mri[:1], samples=k + 1, sampler=sampler, **QUICK)[k]
        assert torch.equal(drawn[k], own * member.pet_std + member.pet_mean), k
    assert not torch.equal(drawn[0], drawn[3])


def test_an_ensemble_of_one_is_that_model(models, mri):
    drawn = sample(Ensemble([engine_of(models[1])]), mri[:1], samples=3, **QUICK)
    assert torch.equal(drawn, alone(models[1], mri[:1], 3))
    assert load_engine(models[:1]).sha256 == models[0].sha256


def test_several_subjects_and_batches_give_the_same(models, mri):
    ensemble = load_engine(models[:2])
    options = {"steps": 2, "seed": 9, "samples": 3}
    together = sample_subjects(ensemble, mri, [4, 5], batch=4, **options)
    for place, subject in enumerate((4, 5)):
        one = sample(ensemble, mri[place, None], subject=subject, batch=1, **options)
        torch.testing.assert_close(together[place], one, rtol=1e-4, atol=1e-4)


def test_progress_goes_on_to_its_end(models, mri):
    seen = []
    ensemble = load_engine(models)
    sample(ensemble, mri[:1], samples=4, on_step=lambda i, n: seen.append(i / n), **QUICK)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) == 8


def test_generators_take_turns_too(mri):
    generators = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = ModelConfig(family="gan", mri_shape=SHAPE, pet_shape=SHAPE)
        network = Generator(config).eval()
        generators.append(Model(network, config, float(seed), 0.5, f"g{seed}", f"{seed}" * 64))
    drawn = sample(load_engine(generators), mri[:1], samples=2, **QUICK)
    assert torch.equal(drawn[1], alone(generators[1], mri[:1], 2)[1])


def test_its_hash_is_of_the_models_in_their_order(models):
    one, other = load_engine(models), load_engine([models[1], models[0], models[2]])
    assert one.sha256 != other.sha256
    assert one.sha256 == load_engine(models).sha256
    assert one.name == "m0 + m1 + m2"
    assert described_members(one)[1] == {"name": "m1", "sha256": "1" * 64}
    assert [member.name for member in members_of(one)] == ["m0", "m1", "m2"]
    assert described_members(engine_of(models[0])) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pet_shape": (32, 32, 32)}, "whose PET grid is 16×32×32 and not 32×32×32"),
        ({"mri_shape": (16, 32, 48)}, "whose MRI grid is 16×32×32 and not 16×32×48"),
    ],
)
def test_models_of_another_grid_are_refused_with_both_names(models, settings, message):
    with pytest.raises(ModelError, match=f"m7: cannot draw together with m0, {message}; "):
        load_engine([models[0], model(7, 1.0, 1.0, **settings)])


def test_folders_are_called_as_the_user_named_them(models, tmp_path):
    a, b = (
        save_model(tmp_path / name / "model", m.network, pet_mean=1, pet_std=1)
        for name, m in (("a", models[0]), ("b", model(8, 1, 1, pet_shape=(32, 32, 32))))
    )
    with pytest.raises(ModelError, match=rf"^{b.parent}: cannot draw together with {a.parent}, "):
        load_engine([a.parent, b.parent])


def test_other_references_families_and_precisions_are_refused(models):
    first = engine_of(models[0])
    by_pons = model(5, 1.0, 1.0)
    by_pons.provenance = {"reference": {"key": "sha256:ab", "name": "pons.nii", "unit": "SUVR"}}
    with pytest.raises(ModelError, match="whose reference of its SUVR is whole cerebellum, built"):
        Ensemble([first, engine_of(by_pons)])
    config = ModelConfig(family="gan", mri_shape=SHAPE, pet_shape=SHAPE)
    gan = Model(Generator(config), config, 1.0, 1.0, "gan", sha256="a" * 64)
    with pytest.raises(ModelError, match="whose family is diffusion and not gan"):
        Ensemble([first, engine_of(gan)])
    with pytest.raises(ModelError, match="whose precision is fp32 and not bf16"):
        Ensemble([first, engine_of(models[1], "bf16")])


def test_the_same_model_twice_and_too_few_samples_are_refused(models, mri):
    with pytest.raises(ModelError, match="m0: is the same model as m0; name each model once"):
        load_engine([models[0], models[1], models[0]])
    with pytest.raises(UsageError, match="samples must be at least 3, not 2: each of the 3 models"):
        sample(load_engine(models), mri[:1], samples=2, **QUICK)
    with pytest.raises(UsageError, match="no model is named"):
        load_engine([])


def test_the_memory_plan_counts_all_models(models, monkeypatch):
    monkeypatch.setattr("mri2pet.memory.BATCHES", (4,))
    ensemble = load_engine(models)
    one, all_of_them = sampling_plan(models[0].config), memory_plan(ensemble)
    assert all_of_them.fixed == pytest.approx(3 * one.fixed, rel=0.01)
    more = all_of_them.peaks[4] - one.peaks[4]
    assert more == pytest.approx(2 * one.fixed, rel=0.01)
