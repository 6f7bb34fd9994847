"""The command: tables, resuming, jobs, the model's people, and what is refused before any work."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.cli.main import main
from mri2pet.config import ModelConfig
from mri2pet.descriptions import write_description
from mri2pet.downstream import run as run_module
from mri2pet.downstream.plan import Options
from mri2pet.downstream.run import downstream
from mri2pet.downstream.training import Fit
from mri2pet.errors import InputError, ModelError, Mri2petError, UsageError
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.settings import Sampling
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.nn import Network
from mri2pet.tables import read_table
from mri2pet.training.people import PEOPLE

from .conftest import SHAPES

FIT = Fit(epochs=1, lr=1e-3)
TRAINED = [f"sub-{n:02d}" for n in range(1, 22)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a run whose model has seen those who train, and drew nobody."""
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("runs") / "small"
    network = Network(ModelConfig(**SHAPES, prediction="v", cond="concat"))
    save_model(run / "model", network, pet_mean=0.5, pet_std=0.6)
    write_description(run / PEOPLE, {"subjects": TRAINED, "whole": True})
    return run


def drawn_at_once(network, mri, row, sampling):
    """In place of a model's PET, whose network would take most of the time."""
    return Drawn(1 + mri[None], 1 + mri)


@pytest.fixture
def options(study, monkeypatch):
    for module in ("drawn", "estimate"):
        monkeypatch.setattr(f"mri2pet.downstream.{module}.draw", drawn_at_once)
    monkeypatch.setattr(Rivals, "warped_cohort_mean", lambda rivals, mri: rivals.mean_pet)
    monkeypatch.setattr("mri2pet.downstream.statistics.RESAMPLES", 300)
    monkeypatch.setattr("mri2pet.downstream.estimate.TRIED_SCANS", 2)

    def make(*settings, **more):
        given = {"seeds": 2, "fit": FIT, "sampling": Sampling(1, "dpmpp", 1), "device": "cpu"}
        return Options(settings=settings, cache=study.cache_dir, **{**given, **more})

    return make


def texts(folder):
    return {path.name: path.read_bytes() for path in folder.glob("table*")}


def test_table_2(study, trained, options, tmp_path):
    pytest.importorskip("sklearn")
    events = []
    result = downstream(
        study.table,
        tmp_path / "out",
        model=trained,
        options=options(seeds=1),
        on_event=lambda kind, facts: events.append((kind, facts)),
    )
    lines = read_table(tmp_path / "out" / "table2_scores.tsv")
    kept = {(line["mode"], line["setting"]) for line in lines}
    assert len(kept) == 9
    predictions = read_table(tmp_path / "out" / "table2_predictions.tsv")
    assert len(predictions) == 9 * 9
    assert {"truth", "p_CN", "p_MCI", "p_AD"} <= set(predictions[0])
    assert "0.780 ± 0.005 \\*\\*\\*" in result.table  # the paper's own
    assert "9 scans of 9 people of the test split; 21 labelled MRI-PET pairs and 8" in result.table
    assert "cohort-mean PET in their place" in result.table
    notes = [facts["text"] for kind, facts in events if kind == "note"]
    assert any("PETs to draw: about" in note for note in notes)
    assert any("7 networks to train" in note for note in notes)
    tests = read_table(tmp_path / "out" / "table2_tests.tsv")
    assert {line["first"] for line in tests} == {
        *("Real Paired", "Real MRI", "Augmented Paired with the cohort-mean PET")
    }


def test_as_the_paper_s_authors_do_it(study, trained, options, tmp_path):
    given = options("real-pet", "real-paired", as_paper=True, seeds=1)
    result = downstream(study.table, tmp_path / "out", model=trained, options=given)
    assert "AUROC, as in the paper" in result.table
    assert "every PET by its own minimum and maximum, a person's last diagnosis" in result.table
    lines = read_table(tmp_path / "out" / "table2_scores.tsv")
    assert {line["mode"] for line in lines} == {"house", "as-paper"}
    own, theirs = (
        [
            line["p_CN"]
            for line in read_table(tmp_path / "out" / "table2_predictions.tsv")
            if (line["mode"], line["setting"]) == (mode, "real-pet")
        ]
        for mode in ("house", "as-paper")
    )
    assert own != theirs


def test_permuted_labels_are_a_row_on_request(study, trained, options, tmp_path):
    """Its networks learn from other labels in every seed, and are tested by the true ones."""
    given = options("real-paired", "permuted-labels")
    result = downstream(study.table, tmp_path / "out", model=trained, options=given)
    assert "| Real Paired, labels permuted |" in result.table
    assert "so AUROC should be about 0.5; an interval far from that tells of a leak" in result.table
    runs = {
        key: [
            json.loads((tmp_path / "out/runs/diagnosis" / key / f"seed-{n}.json").read_text())
            for n in (0, 4)
        ]
        for key in ("real-paired", "permuted-labels")
    }
    assert len({run["data_sha256"] for run in runs["real-paired"]}) == 1
    assert len({run["data_sha256"] for run in runs["permuted-labels"]}) == 2
    for permuted in runs["permuted-labels"]:
        assert permuted["truth"] == runs["real-paired"][0]["truth"]
        assert permuted["training"] == runs["real-paired"][0]["training"]  # as many of each class


def test_table_3(study, trained, options, tmp_path):
    result = downstream(
        study.table,
        tmp_path / "out",
        task="mmse",
        model=trained,
        options=options("real-pet", "training-mean"),
    )
    lines = read_table(tmp_path / "out" / "table3_scores.tsv")
    seeds = {line["setting"]: line["seeds"] for line in lines}
    assert seeds == {"real-pet": "2", "training-mean": "1"}
    assert "| training mean |" in result.table
    mean = next(line for line in result.table.splitlines() if line.startswith("| training mean"))
    assert "–" in mean  # no correlation of a constant
    assert "5.880 ± 0.113" in result.table
    assert "with drawn PETs of other people of the same sex" in result.table
    assert (tmp_path / "out" / "table3_real_against_drawn.png").is_file()
    predictions = read_table(tmp_path / "out" / "table3_predictions.tsv")
    assert {"predicted", "truth"} <= set(predictions[0])


def test_drawn_pets_of_people_whom_the_model_saw_are_marked(study, trained, options, tmp_path):
    """All 21 pairs trained it; of the eight MRIs alone six are of such people."""
    result = downstream(
        study.table,
        tmp_path / "out",
        model=trained,
        options=options("generated-pet", "augmented-pet"),
    )
    assert "| MRI2PET Generated PET (generator saw these people) |" in result.table
    assert "| MRI2PET Augmented PET (generator saw 6 of these 8 people) |" in result.table
    assert "their drawn PETs show its memory" in result.table
    blind = trained.parent / "blind"
    shutil.copytree(trained, blind, dirs_exist_ok=True)
    write_description(blind / PEOPLE, {"subjects": ["sub-99"], "whole": True})
    result = downstream(
        study.table,
        tmp_path / "out",
        model=blind,
        options=options("generated-pet", "augmented-pet"),
    )
    assert "| MRI2PET Generated PET |" in result.table
    assert "saw" not in result.table


def test_a_killed_command_goes_on_and_writes_the_same_bytes(
    study, trained, options, tmp_path, monkeypatch
):
    settings = ("real-mri", "real-pet")
    whole, out = tmp_path / "whole", tmp_path / "out"
    downstream(study.table, whole, model=trained, options=options(*settings))
    do, done = run_module.do, []

    def killed(run):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(do(run))
        return done[-1]

    monkeypatch.setattr(run_module, "do", killed)
    with pytest.raises(KeyboardInterrupt):
        downstream(study.table, out, model=trained, options=options(*settings))
    assert texts(out) == {}
    assert len(list(out.glob("runs/*/*/seed-*.json"))) == 2
    (out / "runs" / "diagnosis" / "real-mri" / "seed-0.json").write_text("{")  # cut by a full disk
    again = []
    monkeypatch.setattr(run_module, "do", lambda run: again.append(do(run)) or again[-1])
    downstream(study.table, out, model=trained, options=options(*settings))
    assert len(again) == 3
    assert texts(out) == texts(whole)
    # More seeds are added, with the same settings in another order and fewer of them.
    again.clear()
    downstream(study.table, out, model=trained, options=options(*settings[::-1], seeds=3))
    assert sorted(again) == ["real-mri seed 8", "real-pet seed 8"]


def test_a_full_disk_is_one_sentence_and_what_is_done_stays(
    study, trained, options, tmp_path, monkeypatch
):
    do, done, out = run_module.do, [], tmp_path / "out"

    def full(run):
        if done:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(do(run))
        return done[-1]

    monkeypatch.setattr(run_module, "do", full)
    with pytest.raises(Mri2petError, match=r"out: cannot be written \(No space left") as error:
        downstream(study.table, out, model=trained, options=options("real-mri"))
    assert error.value.__cause__.errno == errno.ENOSPC  # by which a study ends as a whole
    assert len(list(out.glob("runs/*/*/seed-*.json"))) == 1
    monkeypatch.setattr(run_module, "do", lambda run: done.append(do(run)) or done[-1])
    downstream(study.table, out, model=trained, options=options("real-mri"))
    assert done == ["real-mri seed 0", "real-mri seed 4"]


def test_a_class_that_nobody_of_the_test_split_has_is_said(study, trained, options, tmp_path):
    def change(row):
        return None if row.split == "test" and row.diagnosis == "AD" else row

    study.write(change)
    result = downstream(
        study.table, tmp_path / "out", model=trained, options=options("real-mri", seeds=1)
    )
    assert "Nobody of the test split is AD: left out of AUROC." in result.table
    scores = {
        line["score"]: line["mean"] for line in read_table(tmp_path / "out/table2_scores.tsv")
    }
    assert 0 <= float(scores["auroc"]) <= 1


@pytest.mark.slow
def test_processes_change_nothing(study, trained, options, tmp_path):
    for name, jobs in (("one", 1), ("two", 2)):
        given = options("real-mri", jobs=jobs)
        downstream(study.table, tmp_path / name, model=trained, options=given)
    assert texts(tmp_path / "one") == texts(tmp_path / "two")


def test_work_goes_to_a_cluster_when_asked(study, trained, options, tmp_path, monkeypatch):
    sent = []

    def ray_map(work, tasks, jobs, address, *, gpus=0):
        for task in tasks:
            sent.append(address)
            yield task, work(task)

    monkeypatch.setattr(run_module, "ray_map", ray_map)
    given = options("real-mri", ray="host:1")
    downstream(study.table, tmp_path / "out", model=trained, options=given)
    assert sent == ["host:1"] * 2


def test_on_a_real_cluster(study, trained, options, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'mri2pet[ray]')")
    for name, more in (("here", {}), ("there", {"ray": "local", "jobs": 2})):
        given = options("real-mri", **more)
        downstream(study.table, tmp_path / name, model=trained, options=given)
    assert texts(tmp_path / "here") == texts(tmp_path / "there")


def test_a_changed_label_makes_its_runs_anew(study, trained, options, tmp_path, monkeypatch):
    downstream(study.table, tmp_path / "out", model=trained, options=options("real-mri"))
    study.write(lambda row: replace(row, diagnosis="CN") if row.subject == "sub-02" else row)
    do, again = run_module.do, []
    monkeypatch.setattr(run_module, "do", lambda run: again.append(do(run)) or again[-1])
    downstream(study.table, tmp_path / "out", model=trained, options=options("real-mri"))
    assert len(again) == 2


def test_a_model_that_trained_on_the_test_split_is_refused_before_any_work(
    study, trained, options, tmp_path
):
    leaky = tmp_path / "leaky"
    shutil.copytree(trained, leaky)
    write_description(leaky / PEOPLE, {"subjects": [*TRAINED, "sub-25"], "whole": True})
    with pytest.raises(UsageError, match=r"1 people of the test split trained it \(sub-25"):
        downstream(study.table, tmp_path / "out", model=leaky, options=options())
    alone = tmp_path / "alone"
    shutil.copytree(trained / "model", alone)
    with pytest.raises(UsageError, match="does not record whom it has seen"):
        downstream(study.table, tmp_path / "out", model=alone, options=options())
    assert not (tmp_path / "out").exists()
    result = downstream(
        study.table,
        tmp_path / "out",
        model=alone,
        options=options("generated-pet", unseen=True),
    )
    assert "was not checked" in result.table


@pytest.mark.parametrize(
    ("given", "task", "error", "message"),
    [
        ({"model": None}, "diagnosis", UsageError, "--model is missing, whose PETs generated-pet"),
        ({"model": "nowhere"}, "diagnosis", ModelError, "nowhere: no model of this name"),
        ({}, "severity", UsageError, "--task 'severity' is none of diagnosis, binary, mmse"),
        ({"seeds": 0}, "diagnosis", UsageError, "--seeds is 0"),
        ({"crossfit": 1}, "diagnosis", UsageError, "--crossfit is 1"),
        ({"mmse_min": 31}, "mmse", InputError, "none of the people .* has an MMSE in the range"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    study, trained, options, tmp_path, given, task, error, message
):
    given = {"model": trained, **given}
    model = given.pop("model")
    with pytest.raises(error, match=message):
        downstream(study.table, tmp_path / "out", model=model, task=task, options=options(**given))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_settings_is_refused(study, trained, options, tmp_path):
    out = tmp_path / "out"
    downstream(study.table, out, model=trained, options=options("real-pet"))
    kept = {path: path.read_bytes() for path in out.rglob("seed-*.json")}
    steps = options("real-pet", sampling=Sampling(1, "dpmpp", 2))
    weights = options("real-pet", fit=replace(FIT, class_weights="balanced"))
    for other, name in ((steps, "sampling"), (weights, "class_weights")):
        with pytest.raises(UsageError, match=f"another {name}"):
            downstream(study.table, out, model=trained, options=other)
    assert kept == {path: path.read_bytes() for path in out.rglob("seed-*.json")}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(UsageError, match="is not empty and holds no results"):
        downstream(study.table, tmp_path / "full", model=trained, options=options("real-pet"))


def test_the_command(study, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mri2pet.downstream.training.Fit", lambda **given: replace(FIT, **given))
    out = tmp_path / "out"
    command = ["downstream", str(study.table), "-o", str(out), "--model", str(trained)]
    command += ["--task", "binary", "--settings", "majority, augmented-pet", "--seeds", "1"]
    command += ["--steps", "1", "--cache", str(study.cache_dir), "--device", "cpu"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "# AD or not" in said.out
    assert "table2_binary.md" in said.out
    assert "1 networks to train" in said.err
    assert json.loads((out / "settings.json").read_text())["class_weights"] == "none"
    assert main([*command, "--seeds", "0"]) == 2
    assert "error: --seeds is 0" in capsys.readouterr().err
    first = np.load(next((out / "drawn").glob("*/*.npy")))
    assert first.dtype == np.float16
