"""Everybody is drawn by a model that was trained without them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.config import Config, without_folders
from mri2pet.descriptions import write_description
from mri2pet.downstream import crossfit as module
from mri2pet.downstream.crossfit import check_fold, fold_of, recipe
from mri2pet.downstream.generator import Drawer, Generator, load_drawer
from mri2pet.downstream.groups import find_groups
from mri2pet.downstream.plan import Options, Plan
from mri2pet.downstream.settings import SETTINGS, TASKS
from mri2pet.downstream.tables import _title
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training.people import PEOPLE, Seen

from .conftest import SHAPES

CONFIG = load_config(
    "compact",
    [
        *(f"model.{name}=[16,32,32]" for name in SHAPES),
        *("model.linear_components=0", "training.volumes=2", "training.precision=fp32"),
        *("training.batch_size=2", "training.micro_batch=2", "training.sample_images=0"),
        *("data.reference=cerebellum", "training.validate_every=100"),
    ],
)
TRAINED = frozenset(f"sub-{n:02d}" for n in range(1, 22))


def model(folder, config: Config, seen: Seen):
    torch.manual_seed(0)
    provenance = {"config": without_folders(config)}
    network = Network(config.model)
    save_model(folder / "model", network, pet_mean=0.5, pet_std=0.6, provenance=provenance)
    write_description(folder / PEOPLE, {"subjects": sorted(seen.subjects), "whole": seen.whole})
    return load_drawer(str(folder), "cpu")


@pytest.fixture
def plan(study, tmp_path):
    cohort = study.cache()
    task = TASKS["diagnosis"]
    generator = Generator(model(tmp_path / "run", CONFIG, Seen(TRAINED, True)))
    return Plan(
        tmp_path / "out",
        cohort,
        task,
        [SETTINGS["generated-pet"]],
        {"house": find_groups(cohort, task)},
        generator,
        Options(crossfit=3),
        "cpu",
    )


def test_the_recipe_is_the_model_s_own(plan):
    again = load_config("compact", [*recipe(plan.generator.main), "data.reference=cerebellum"])
    assert again == CONFIG
    started = CONFIG.model_copy(
        update={"training": CONFIG.training.model_copy(update={"init": "/somewhere/pre"})}
    )
    network = plan.generator.main.network
    network.provenance["config"] = without_folders(started)
    with pytest.raises(UsageError, match="started from pre, which has seen these people"):
        recipe(plan.generator.main)
    network.provenance.clear()
    with pytest.raises(UsageError, match="does not record how it was trained"):
        recipe(plan.generator.main)


def test_folds_divide_people_of_both_splits_alike(plan):
    rows = plan.groups["house"].pairs
    folds = fold_of(rows, 3)
    assert set(folds) == TRAINED
    for split, each in (("train", 6), ("val", 1)):
        people = {row.subject for row in rows if row.split == split}
        assert sorted(folds[p] for p in people) == sorted(list(range(3)) * each)
    with pytest.raises(UsageError, match="--crossfit 22: there are 21 people"):
        fold_of(rows, 22)


def test_each_fold_trains_without_its_people_and_draws_them(plan, monkeypatch):
    """The trainings are made up: a model that has seen whom the table lets it see."""
    trained = []

    def train(run, *, data, settings, cache, device):
        from mri2pet.cohort.manifest import load_manifest

        seen = {row.subject for row in load_manifest(data) if row.split != "test"}
        assert cache == plan.cohort.root.parent
        model(run, CONFIG, Seen(frozenset(seen), True))
        trained.append(seen)

    monkeypatch.setattr(module, "train", train)
    before = _title(plan, SETTINGS["generated-pet"])
    assert before.endswith("(generator saw these people)")
    generator = module.crossfit(plan, lambda kind, facts: None)
    assert len(trained) == 3
    tested = {row.subject for row in plan.groups["house"].test}
    for person in TRAINED:
        drawer = generator.drawer(person)
        assert person not in drawer.seen.subjects
        assert not tested & drawer.seen.subjects
        assert drawer.seen.subjects
    assert generator.drawer("sub-31") is plan.generator.main
    assert _title(replace(plan, generator=generator), SETTINGS["generated-pet"]) == (
        "MRI2PET Generated PET"
    )


def test_a_fold_that_has_seen_its_people_is_refused():
    for seen in (Seen(frozenset({"a", "b"}), True), Seen(frozenset({"c"}), False), None):
        with pytest.raises(UsageError, match="has seen people of its fold"):
            check_fold(Drawer("fold-0", None, seen), {"a"})
    check_fold(Drawer("fold-0", None, Seen(frozenset({"b"}), True)), {"a"})
