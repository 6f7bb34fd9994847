"""The graph of an experiment: what needs what, and which change makes what anew."""

from __future__ import annotations

import pytest

from mri2pet.baselines import FILES, find_baseline
from mri2pet.cohort.manifest import load_manifest
from mri2pet.downstream.run import Downstream
from mri2pet.errors import UsageError
from mri2pet.experiment.methods import METHODS, PAPER_METHODS
from mri2pet.experiment.plan import plan, steps_needed
from mri2pet.experiment.reading import read_experiment
from mri2pet.experiment.steps import hashes
from mri2pet.experiment.work import Work


def steps_of(write, **changed):
    return plan(read_experiment(write(**changed)))


def changed_steps(write, before: dict, after: dict) -> set[str]:
    """Names of the steps whose hash differs, with all that come before them done."""
    old, new = (hashes(steps_of(write, **c), lambda name, hash_: True) for c in (before, after))
    return {name for name in new if new[name] != old.get(name)}


def test_a_step_comes_after_all_that_it_needs(write):
    seen: set[str] = set()
    for step in steps_of(write, methods=list(METHODS)):
        assert {*step.needs} <= seen
        seen.add(step.name)


def test_every_method_starts_from_its_own_source_made_once(write):
    steps = {step.name: step for step in steps_of(write, methods=list(PAPER_METHODS))}
    made = [name for name in steps if name.startswith("pretrain:")]
    assert made == ["pretrain:mri2pet", "pretrain:no-style", "pretrain:gan"]
    for name in PAPER_METHODS:
        needed = [n for n in steps[f"train:{name}"].needs if n.startswith("pretrain")]
        if name in FILES:
            owner = {None: [], "gan": ["pretrain:gan"], "diffusion": ["pretrain:no-style"]}
            assert needed == owner[find_baseline(name).source]
        else:
            alone = name in ("no-pretrain", "vanilla")
            own = "no-style" if name == "no-style" else "mri2pet"
            assert needed == ([] if alone else [f"pretrain:{own}"])
    assert "style" in steps["pretrain:mri2pet"].needs
    assert "style" not in steps["pretrain:no-style"].needs


def test_without_style_only_methods_that_need_none(write):
    assert "style" not in {s.name for s in steps_of(write, methods=["gan", "vanilla"], style=None)}
    with pytest.raises(UsageError, match="style: is missing, and mri2pet"):
        steps_of(write, methods=["mri2pet"], style=None)


def test_a_change_makes_only_what_depends_on_it_anew(write):
    both = {"methods": ["mri2pet", "no-laplacian", "gan", "vanilla"]}
    base = {"pretrain": {"volumes": 8}, "finetune": {"volumes": 16}, "gan": {"volumes": 8}}
    settings = {"model.mri_shape": [16, 32, 32], "model.pet_shape": [16, 32, 32],
                "model.linear_components": 2}  # fmt: skip
    train = {**base, "settings": settings}
    found = changed_steps(
        write, {**both, "train": train}, {**both, "train": {**train, "gan": {"volumes": 9}}}
    )
    assert {"train:gan", "evaluate:gan", "table1", "figure:grid", "page"} <= found
    assert not {n for n in found if "mri2pet" in n or "vanilla" in n or "laplacian" in n}
    assert not found & {"cohort", "cache:cohort", "style", "figure:cases", "tables45"}
    found = changed_steps(write, both, {**both, "style": {"random_vgg": True, "steps": 2}})
    assert {"style", "pretrain:mri2pet", "train:mri2pet", "train:no-laplacian"} <= found
    assert not found & {"train:gan", "train:vanilla", "cache:cohort"}
    assert changed_steps(write, both, {**both, "jobs": 2, "device": "cpu"}) == set()
    evaluated = changed_steps(write, both, {**both, "evaluate": {"samples": 4, "steps": 3}})
    assert {n.partition(":")[0] for n in evaluated} >= {"evaluate", "calibrate", "table1", "page"}
    assert not {n for n in evaluated if n.startswith(("train", "pretrain", "cache"))}


def test_what_another_version_drew_is_drawn_again(write, monkeypatch):
    made = hashes(steps_of(write), lambda name, hash_: True)
    monkeypatch.setattr("mri2pet.evaluation.settings.FORMAT", 99)
    again = hashes(steps_of(write), lambda name, hash_: True)
    changed = {name for name in again if again[name] != made[name]}
    assert {name for name in again if name.startswith(("evaluate:", "calibrate"))} <= changed
    assert not {name for name in changed if name.startswith(("train", "cache"))}


def test_every_choice_that_changes_a_table_changes_its_step(write, tmp_path):
    """How PETs are drawn, by which model, and the order of methods in Table 1."""
    base = {"methods": ["vanilla", "gan"], "downstream": {"tasks": ["mmse"]}}
    seed = changed_steps(write, base, {**base, "evaluate": {"samples": 4, "steps": 2, "seed": 1}})
    assert {"downstream:mmse", "evaluate:vanilla", "page"} <= seed
    turned = changed_steps(write, base, {**base, "methods": ["gan", "vanilla"]})
    assert {"table1", "downstream:mmse", "page"} <= turned
    assert not {name for name in turned if name.startswith(("train", "evaluate"))}
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    given = {**base, "methods": [{"name": "mine", "model": str(model)}, "gan"]}
    before = hashes(steps_of(write, **given), lambda name, hash_: True)
    (model / "model.json").write_text("{ }")
    after = hashes(steps_of(write, **given), lambda name, hash_: True)
    assert before["downstream:mmse"] != after["downstream:mmse"]
    assert before["train:gan"] == after["train:gan"]


def test_pet_like_mris_of_ones_own_change_what_reads_them_alone(write, tmp_path):
    both = {"methods": ["mri2pet", "no-style", "gan", "vanilla"]}
    own = {**both, "style": {"stylized": str(tmp_path)}}
    found = changed_steps(write, both, own)
    assert {"pretrain:mri2pet", "train:mri2pet", "evaluate:mri2pet"} <= found
    assert not found & {"pretrain:no-style", "train:no-style", "train:gan", "train:vanilla"}


def test_labels_that_come_later_train_nothing_anew(write, made_up, tmp_path):
    """They reach the table, the people and their splits stay, and what they tell of is stale."""
    root = made_up.write_cohort(tmp_path / "cohort")
    people = (root / "participants.tsv").read_text()
    (root / "participants.tsv").write_text(
        "\n".join(line.rpartition("\t")[0] for line in people.splitlines()) + "\n"  # no MMSE
    )
    given = {"cohort": {"bids": str(root), "fractions": [0.4, 0.3, 0.3]}, "downstream": {}}

    def steps():
        return {step.name: step for step in steps_of(write, **given)}

    before = hashes([*steps().values()], lambda name, hash_: True)
    for name in ("cohort", "labels:cohort"):
        steps()[name].run(lambda kind, facts: None)
    without = load_manifest(tmp_path / "out" / "cohort.tsv")
    assert {row.mmse for row in without} == {None}
    (root / "participants.tsv").write_text(people)
    steps()["labels:cohort"].run(lambda kind, facts: None)
    known = load_manifest(tmp_path / "out" / "cohort.tsv")
    assert {row.mmse for row in known} == {28, 29, 30}
    assert [(row.name, row.split) for row in known] == [(row.name, row.split) for row in without]
    after = hashes([*steps().values()], lambda name, hash_: True)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        *("labels:cohort", "downstream:diagnosis", "downstream:mmse"),
        *("figure:cases", "figure:longitudinal", "figure:decay", "tables45", "page"),
    }


def test_labels_are_those_of_the_nearest_visit_within_a_year(write, made_up, tmp_path):
    root = made_up.write_cohort(tmp_path / "cohort")
    for subject, days in (("sub-01", 300), ("sub-02", 366)):
        (root / subject / f"{subject}_sessions.tsv").write_text(
            f"session_id\tmri_days\tpet_days\tmmse\nses-01\t0\t0\tn/a\nses-09\t{days}\tn/a\t22\n"
        )
    given = {"cohort": {"bids": str(root), "fractions": [0.4, 0.3, 0.3]}}
    steps = {step.name: step for step in steps_of(write, **given)}
    for name in ("cohort", "labels:cohort"):
        steps[name].run(lambda kind, facts: None)
        rows = {row.name: row for row in load_manifest(tmp_path / "out" / "cohort.tsv")}
        assert rows["sub-01_ses-01"].mmse == 22
        assert rows["sub-02_ses-01"].mmse != 22


def test_the_tasks_get_those_rows_that_they_have(write, monkeypatch):
    """Also the control of permuted labels beside the table."""
    asked = {}

    def downstream(data, out, *, task, model, options, on_event):
        asked[task] = options.settings
        return Downstream("", [])

    monkeypatch.setattr("mri2pet.downstream.run.downstream", downstream)
    rows = ["table", "permuted-labels", "majority"]
    for step in steps_of(write, downstream={"settings": rows}):
        if step.name.startswith("downstream:"):
            step.run(lambda kind, facts: None)
    assert asked == {"diagnosis": tuple(rows), "mmse": ("table", "permuted-labels")}


def test_without_scikit_learn_its_row_is_told_beforehand(write, monkeypatch):
    monkeypatch.setattr("mri2pet.experiment.downstream.find_spec", lambda name: None)

    def why(settings):
        steps = {step.name: step for step in steps_of(write, downstream={"settings": settings})}
        return steps["downstream:diagnosis"].why_not

    assert "needs scikit-learn" in why("table")
    assert why(["real-mri", "real-pet"]) is None


def test_more_networks_take_longer(write):
    def seconds(**changed):
        of = {"tasks": ["diagnosis"], "settings": ["real-pet"], **changed}
        return {s.name: s.seconds for s in steps_of(write, downstream=of)}["downstream:diagnosis"]

    assert seconds(seeds=2) > seconds(seeds=1)
    assert seconds(epochs=100) > seconds(epochs=50)
    assert seconds(settings=["real-paired"]) > seconds()


def test_a_gan_draws_one_pet_of_an_mri(write):
    """They are all alike, so that there is no spread to tell of where it comes first."""
    methods = ["mri2pet", "gan", "cdc"]
    work = Work(read_experiment(write(methods=methods, evaluate={"samples": 4})))
    assert [work.samples_of(name) for name in methods] == [4, 1, 1]
    for first, told in (("mri2pet", True), ("gan", False)):
        steps = steps_of(write, methods=[first], evaluate={"samples": 4}, uncertainty={})
        assert ("uncertainty" in {step.name for step in steps}) == told


def test_a_calibration_takes_as_long_as_its_people(write):
    def seconds(validated):
        fractions = [0.9 - validated, validated, 0.1]
        cohort = {"phantom": {"pairs": 50}, "registration": "truth", "fractions": fractions}
        return {s.name: s.seconds for s in steps_of(write, cohort=cohort)}["calibrate"]

    assert seconds(0.5) > seconds(0.2)


def test_an_unknown_setting_of_trainings_is_named_before_any_work(write):
    for key, hint in (
        ("model.mri_shap", "did you mean mri_shape"),
        ("modle.mri_shape", "did you mean model"),
        ("data.xyz", "there are "),
    ):
        with pytest.raises(UsageError, match=f"unknown key {key.partition('.')[0]}.*; {hint}"):
            steps_of(write, train={"settings": {key: 1}})


def test_only_takes_what_it_needs(write):
    steps = steps_of(write, methods=["mri2pet", "gan"])
    names = [step.name for step in steps_needed(steps, ["evaluate:gan"])]
    assert names == ["cohort", "cache:cohort", "train:gan", "evaluate:gan"]
    kinds = [step.name for step in steps_needed(steps, ["train"])]
    assert {"train:mri2pet", "train:gan", "style"} <= set(kinds)
    with pytest.raises(UsageError, match="--only trian: is no step"):
        steps_needed(steps, ["trian"])


def test_a_model_trained_elsewhere_is_evaluated_and_not_trained(write, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    methods = [{"name": "mine", "model": str(model)}, "gan"]
    steps = {step.name: step for step in steps_of(write, methods=methods)}
    assert "train:mine" not in steps
    before = steps["evaluate:mine"].inputs
    (model / "model.json").write_text("{ }")
    after = {step.name: step for step in steps_of(write, methods=methods)}["evaluate:mine"].inputs
    assert before != after


def test_a_second_cohort_takes_the_place_of_the_test_split(write, cohort):
    steps = {s.name: s for s in steps_of(write, test_cohort={"bids": str(cohort)})}
    assert {"test-cohort", "cache:test-cohort"} <= set(steps)
    assert "cache:test-cohort" in steps["evaluate:gan"].needs
    assert "cache:test-cohort" not in steps["train:gan"].needs


def test_a_variant_is_fine_tuned_otherwise_from_the_same_pretraining(write):
    variant = {"name": "clipped", "like": "mri2pet", "settings": {"training.snr_clip": 5}}
    steps = {s.name: s for s in steps_of(write, methods=["mri2pet", variant])}
    assert steps["train:clipped"].needs == steps["train:mri2pet"].needs
    own, plain = (steps[f"train:{n}"].inputs["training"] for n in ("clipped", "mri2pet"))
    assert {key for key in own if own[key] != plain[key]} == {"snr_clip"}
    assert "pretrain:clipped" not in steps


def test_the_examples_are_experiments(repository):
    pytest.importorskip("yaml")
    files = sorted((repository / "examples" / "experiments").glob("*.yaml"))
    assert len(files) >= 2
    for file in files:
        assert len(plan(read_experiment(file))) > 10
