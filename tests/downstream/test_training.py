"""One network: who holds out, when it stops, the same bits again, and what its result holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mri2pet.cohort.parallel import one_thread
from mri2pet.downstream import training
from mri2pet.downstream.runs import AS_PAPER, HOUSE, Run, do
from mri2pet.downstream.settings import SETTINGS, TASKS
from mri2pet.downstream.training import (
    Fit,
    Sample,
    class_weights,
    divide,
    learn,
    permute_labels,
    predict,
)
from mri2pet.errors import Mri2petError

SHAPE = (8, 8, 8)
DIAGNOSIS, BINARY, MMSE = (TASKS[key] for key in ("diagnosis", "binary", "mmse"))
QUICK = Fit(epochs=3, lr=1e-3, batch=16)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """40 scans of 20 people; a cube as bright as the class."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    found = []
    for i in range(40):
        paths = []
        for name, level in (("mri", 0.2), ("pet", 1.0)):
            volume = level + 0.05 * rng.normal(size=SHAPE)
            volume[2:6, 2:6, 2:6] += 0.4 * (i // 2 % 3)
            paths.append(folder / f"{name}{i}.npy")
            np.save(paths[-1], np.clip(volume, 0, None).astype(np.float16))
        found.append(Sample(f"scan{i}", f"person{i // 2}", i // 2 % 3, *paths, age=60 + i, sex="F"))
    return found


def run_of(scans, tmp_path, setting="real-paired", task=DIAGNOSIS, seed=4, mode=HOUSE, fit=QUICK):
    return Run(
        tmp_path, task, SETTINGS[setting], seed, mode, fit, tuple(scans[:30]), tuple(scans[30:])
    )


def test_people_are_divided_by_seed_and_name_alone(scans):
    part, held = divide(scans, 4)
    people = [{s.subject for s in some} for some in (part, held)]
    assert not people[0] & people[1]
    assert [len(p) for p in people] == [16, 4]
    assert divide(scans[::-1], 4)[1] == held[::-1]
    assert divide(scans, 8)[1] != held
    # With fewer people the ranking stays, so that settings agree on whoever is in both.
    both = {s.subject for s in scans[:30]}
    fewer = {s.subject for s in divide(scans[:30], 4)[1]}
    assert fewer <= (people[1] & both) or fewer >= (people[1] & both)
    first, second = divide(scans[:4], 0)
    assert len(first) == len(second) == 2


def test_a_run_is_the_same_bits_whatever_ran_before(scans, tmp_path):
    """Order, processes' random numbers and micro-batches of others do not count."""
    with one_thread():
        do(run_of(scans, tmp_path / "one"))
        torch.manual_seed(99)
        np.random.seed(99)  # noqa: NPY002
        do(run_of(scans, tmp_path / "two", seed=0))
        do(run_of(scans, tmp_path / "two"))
    one, two = (json.loads(run_of(scans, tmp_path / n).path.read_text()) for n in ("one", "two"))
    other = json.loads(run_of(scans, tmp_path / "two", seed=0).path.read_text())
    assert one.pop("seconds") > 0
    assert two.pop("seconds") > 0
    assert one == two
    assert other["predicted"] != one["predicted"]


def test_parts_of_a_batch_add_up_to_it(scans):
    def weights(at_once):
        fit = replace(QUICK, micro_batch=at_once, epochs=2, class_weights="balanced")
        learnt = learn(scans, ("pet",), DIAGNOSIS, fit, (0, "x"))
        return torch.cat([p.detach().flatten() for p in learnt.network.parameters()])

    np.testing.assert_allclose(weights(16), weights(5), atol=2e-6)


def test_early_stopping_keeps_the_best_epoch(scans, monkeypatch):
    """The losses are made up: the second epoch is the best; five others follow."""
    losses = iter([1.0, 0.5, 0.6, 0.5, 0.7, 0.8, 0.9, 0.1])
    kept = []
    held_out_loss = training._held_out_loss

    def loss(held, at_once, of):
        held_out_loss(held, at_once, of)
        network = next(c.cell_contents for c in of.__closure__ if hasattr(c.cell_contents, "head"))
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(training, "_held_out_loss", loss)
    learnt = learn(scans, ("mri",), DIAGNOSIS, Fit(), (0, "x"))
    assert learnt.best_epoch == 2
    assert learnt.held_out_loss == [1.0, 0.5, 0.6, 0.5, 0.7, 0.8, 0.9]
    for name, value in learnt.network.state_dict().items():
        assert torch.equal(value, kept[1][name])
        assert not torch.equal(value, kept[-1][name])


def test_the_held_out_loss_is_a_mean_over_scans(scans):
    """In parts of four, of which the last is smaller: a mean of means would weigh it more."""
    held = divide(scans[:26], 0)[1]
    learnt = learn(scans[:26], ("mri",), MMSE, Fit(epochs=1, micro_batch=4), (0, "x"))
    predicted = predict(learnt.network, held, ("mri",), MMSE)
    error = (predicted - np.array([s.label for s in held])) ** 2
    assert len(held) % 4
    assert learnt.held_out_loss[0] == pytest.approx(error.mean(), rel=1e-5)


def test_class_weights_come_from_the_training_part_alone(scans, monkeypatch):
    """Whoever is held out, or tested, may be of one class alone: it changes nothing."""
    part, _ = divide(scans, 0)
    seen = []
    weights_of = class_weights
    monkeypatch.setattr(
        training, "class_weights", lambda some, *rest: seen.append(some) or weights_of(some, *rest)
    )
    learn(scans, ("mri",), DIAGNOSIS, replace(QUICK, epochs=1, class_weights="balanced"), (0, "x"))
    assert seen == [part]
    counts = np.bincount([int(s.label) for s in part])
    assert class_weights(part, DIAGNOSIS, "balanced") == pytest.approx(len(part) / (3 * counts))
    assert class_weights(part, DIAGNOSIS, "none") == [1, 1, 1]


def test_a_result_holds_what_scores_need(scans, tmp_path):
    run = run_of(scans, tmp_path, task=BINARY, mode=AS_PAPER)
    run = replace(run, training=tuple(replace(s, label=s.label // 2) for s in run.training))
    run = replace(run, test=tuple(replace(s, label=s.label // 2) for s in run.test))
    assert run.result() is None
    assert do(run) == "real-paired seed 4"
    assert run.path == tmp_path / "runs/binary-as-paper/real-paired/seed-4.json"
    record = run.result()
    assert np.shape(record["predicted"]) == (10, 2)
    assert np.sum(record["predicted"], axis=1) == pytest.approx(np.ones(10))
    assert record["learnt_from"]["people"] + record["held_out"]["people"] == 15
    assert set(record["scores"]) >= {"accuracy", "f1", "balanced_accuracy", "auroc"}
    assert np.sum(record["confusion"]) == 10
    # Of other data it is no result.
    assert replace(run, training=run.training[1:]).result() is None
    assert replace(run, fit=Fit()).result() is None
    run.path.write_text(run.path.read_text()[:50])
    assert run.result() is None


def test_mmse_of_real_and_drawn_pets(scans, tmp_path):
    run = run_of(scans, tmp_path, "real-pet", MMSE)
    scored = [replace(s, label=26.0 + s.label) for s in scans]
    drawn = tuple(replace(s, drawn=scans[0].pet) for s in scored[30:])
    do(replace(run, training=tuple(scored[:30]), test=drawn))
    record = json.loads(run.path.read_text())
    assert np.ptp(record["predicted_of_drawn"]) == pytest.approx(0, abs=1e-5)
    assert np.ptp(record["predicted"]) > 0
    assert 20 < np.mean(record["predicted"]) < 30


def test_what_looks_at_no_image(scans, tmp_path):
    pytest.importorskip("sklearn")
    do(run_of(scans, tmp_path, "majority", seed=0))
    record = run_of(scans, tmp_path, "majority", seed=0).result()
    assert record["scores"]["auroc"] == 0.5
    assert np.argmax(record["predicted"], axis=1).tolist() == [0] * 10
    aged = [replace(s, age=60 + 10 * s.label, sex=None) for s in scans]
    do(run_of(aged, tmp_path, "covariates", seed=0))
    assert run_of(aged, tmp_path, "covariates", seed=0).result()["scores"]["auroc"] > 0.95
    do(run_of(aged, tmp_path, "training-mean", MMSE, seed=0))
    record = run_of(aged, tmp_path, "training-mean", MMSE, seed=0).result()
    assert record["scores"]["pearson"] is None
    assert record["scores"]["r2"] <= 0
    do(run_of(aged, tmp_path, "covariates", MMSE, seed=0))
    assert run_of(aged, tmp_path, "covariates", MMSE, seed=0).result()["scores"]["pearson"] > 0.95


def test_a_loss_that_is_not_finite_is_said(scans, tmp_path):
    np.save(tmp_path / "bad.npy", np.full(SHAPE, np.inf, np.float16))
    broken = [replace(s, mri=tmp_path / "bad.npy") for s in scans]
    with pytest.raises(Mri2petError, match="real-mri, seed 4: the loss is not finite"):
        do(run_of(broken, tmp_path, "real-mri"))
    assert not run_of(broken, tmp_path, "real-mri").path.exists()


def auroc(scans, tmp_path, seeds, test):
    found = []
    for seed in seeds:
        fit = Fit(epochs=20, lr=2e-3, batch=8)
        run = run_of(scans, tmp_path, "real-pet", seed=seed, fit=fit)
        do(replace(run, training=tuple(scans), test=tuple(test)))
        found.append(
            replace(run, training=tuple(scans), test=tuple(test)).result()["scores"]["auroc"]
        )
    return np.array(found)


def test_a_separable_phantom_is_learnt(scans, tmp_path):
    assert auroc(scans[:30], tmp_path, [0], scans[30:])[0] > 0.95


def test_permuted_labels_stay_at_chance(scans, tmp_path):
    """Those of the training set alone, as the control does it; the tested ones stay."""
    found = [
        auroc(permute_labels(scans[:26], seed), tmp_path, [seed], scans[26:])[0]
        for seed in range(8)
    ]
    assert np.ptp(found) > 0
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found, ddof=1) / np.sqrt(len(found))


def test_labels_are_permuted_between_people_by_the_seed_alone(scans):
    def labels(some, seed):
        found = {}
        for sample in permute_labels(some, seed):
            found.setdefault(sample.subject, set()).add(sample.label)
        assert all(len(own) == 1 for own in found.values())  # a person's scans keep together
        return {person: own.pop() for person, own in found.items()}

    own = {s.subject: s.label for s in scans}
    mixed = labels(scans, 4)
    assert sorted(mixed.values()) == sorted(own.values())
    assert sum(mixed[person] != own[person] for person in own) > len(own) / 3
    assert labels(scans[::-1], 4) == mixed
    assert labels(scans, 8) != mixed
    kept = [replace(s, label=0) for s in scans]
    assert [replace(s, label=0) for s in permute_labels(scans, 4)] == kept
