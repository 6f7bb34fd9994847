"""A run records whom its model has seen, also by what it started from."""

from __future__ import annotations

import shutil

import pytest

from mri2pet.errors import ModelError
from mri2pet.stages import load_config
from mri2pet.training import train
from mri2pet.training.people import PEOPLE, people_of, record_people
from mri2pet.training.targets import stage_data


def test_a_run_records_its_people(memory_cohort, settings, tmp_path):
    run, cohort = tmp_path / "run", memory_cohort
    train(run, data=tmp_path, settings=(*settings, "training.volumes=2"), device="cpu")
    learnt = {row.subject for split in ("train", "val") for row in cohort.rows(split)}
    assert people_of(run) == people_of(run / "model")
    assert people_of(run).subjects == learnt
    assert people_of(run).whole
    assert people_of("demo") is None  # a model without its run
    text = (run / PEOPLE).read_text()
    (run / PEOPLE).write_text(text.replace("sub-00", "sub-99"))
    with pytest.raises(ModelError, match="was changed"):
        people_of(run)


def test_people_of_the_pretraining_are_seen_too(cohort, settings, tmp_path):
    def record(run, *more):
        (run / "model").mkdir(parents=True)
        (run / "model" / "model.json").touch()  # what makes it a model's folder
        config = load_config("compact", (*settings, *more))
        record_people(run, config.training, cohort, stage_data(config, cohort))
        return people_of(run)

    ablation, start = "training.ablation=no-style", tmp_path / "pre"
    unpaired = {"sub-08", "sub-09", "sub-10"}
    assert unpaired <= record(start, "training.stage=pretrain", ablation).subjects
    assert not unpaired & record(tmp_path / "alone").subjects
    fine = record(tmp_path / "fine", ablation, f"training.init={start}")
    assert unpaired <= fine.subjects
    assert fine.whole
    shutil.copytree(start / "model", tmp_path / "given")
    assert not record(tmp_path / "unknown", ablation, f"training.init={tmp_path / 'given'}").whole
