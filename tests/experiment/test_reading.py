"""An experiment's file: what is accepted, and what is refused in one sentence."""

from __future__ import annotations

import json

import pytest

from mri2pet.baselines import FILES
from mri2pet.cli import main as cli
from mri2pet.errors import InputError, UsageError
from mri2pet.experiment.methods import METHODS, PAPER_METHODS
from mri2pet.experiment.reading import read_experiment
from mri2pet.stages import ABLATIONS

SMALL = """
name: small
out: runs/small
cohort: {phantom: {pairs: 4}, registration: truth}
style: {random_vgg: true}
methods: [mri2pet]
"""


def refused(tmp_path, text: str) -> str:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises((InputError, UsageError)) as error:
        read_experiment(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "study.yaml").write_text(SMALL)
    config = read_experiment(tmp_path / "study.yaml")
    assert config.out == tmp_path / "runs" / "small"
    assert read_experiment(tmp_path / "study.yaml", tmp_path / "other").out == tmp_path / "other"


def test_a_reference_region_is_a_file_beside_the_experiment(tmp_path):
    (tmp_path / "voi.nii.gz").touch()
    own = SMALL.replace("registration: truth", "reference: voi.nii.gz")
    (tmp_path / "study.yaml").write_text(own)
    assert read_experiment(tmp_path / "study.yaml").cohort.reference == f"{tmp_path}/voi.nii.gz"
    assert "cohort.reference: " in refused(tmp_path, own.replace("voi", "other"))


def test_json_is_the_same_tree(tmp_path):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "study.yaml").write_text(SMALL)
    (tmp_path / "study.json").write_text(json.dumps(yaml.safe_load(SMALL)))
    assert read_experiment(tmp_path / "study.json") == read_experiment(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("metods: [gan]", "unknown key metods; did you mean methods"),
        (
            "train: {finetune: {volume: 3}}",
            "unknown key train.finetune.volume; did you mean volumes",
        ),
        ("evaluate: {stpes: 3}", "unknown key evaluate.stpes; did you mean steps"),
        ("figures: {grid: {persons: 3}}", "unknown key figures.grid.persons; there are people"),
        ("style: {}", "style: give exactly one of vgg_weights, random_vgg, stylized (none given)"),
        ("train: {gan: {volumes: 1, epochs: 1}}", "volumes and epochs given"),
        ("evaluate: {samples: 0}", "evaluate.samples: "),
        ("methods: [gam]", "unknown method 'gam'"),
        ("methods: [gan, gan]", "named twice"),
        ("style: {vgg_weights: vgg.pth}", "style.vgg_weights: "),
        ("cohort: {bids: nowhere}", "cohort.bids: "),
        ("methods: [{name: mine, model: nowhere}]", "nowhere is not there"),
        ("methods: [{name: mine, like: gam, settings: {}}]", "unknown method 'gam'"),
        ("methods: [{name: gan, like: gan, settings: {}}]", "gan is a method already"),
        ("methods: [{name: mine, like: gan, setings: {}}]", "did you mean settings"),
        ("evaluate: {sampler: dpmmp}", "evaluate.sampler: Input should be 'dpmpp', "),
        ("evaluate: {steps: 1000}", "evaluate.steps: "),
        (
            "downstream: {settings: [real-mir]}",
            "downstream.settings: unknown setting 'real-mir'; did you mean real-mri",
        ),
        ("downstream: {tasks: [mmse], settings: [majority]}", "no row that the task mmse has"),
        ("downstream: {tasks: [mmse, mmse]}", "downstream.tasks: a task is named twice"),
        ("downstream: {tasks: []}", "downstream.tasks: "),
        ("downstream: {crossfit: 1}", "downstream.crossfit: must be 0, or at least 2"),
        ("preset: compakt", "preset: there are compact, paper"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, sentence):
    key = change.partition(":")[0]
    kept = "\n".join(line for line in SMALL.splitlines() if not line.startswith(f"{key}:"))
    assert sentence in refused(tmp_path, f"{kept}\n{change}\n")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    assert "study.yaml: the key name stands twice" in refused(tmp_path, SMALL + "name: again")
    nested = "evaluate: {steps: 3, samples: 4, steps: 5}"
    assert "the key steps stands twice" in refused(tmp_path, SMALL + nested)
    merged = "train:\n  gan: &a {volumes: 5}\n  finetune: &b {<<: *a, volumes: 6}\n"
    (tmp_path / "study.yaml").write_text(SMALL + merged + "  pretrain: {<<: *b}\n")
    assert read_experiment(tmp_path / "study.yaml").train.pretrain.volumes == 6
    (tmp_path / "study.json").write_text('{"name": "a", "name": "b"}')
    with pytest.raises(UsageError, match="the key name stands twice; keep one"):
        read_experiment(tmp_path / "study.json")


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "a: b: c"])
def test_what_is_no_experiment_is_refused(tmp_path, text):
    assert "study.yaml" in refused(tmp_path, text)


def test_a_file_that_is_not_there_is_refused_by_the_command(tmp_path, capsys):
    assert cli.main(["experiment", "run", str(tmp_path / "no.yaml")]) == 1
    assert "one of tiny, phantom, paper" in capsys.readouterr().err


def test_the_presets_are_experiments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_experiment("tiny").method_names == ["mri2pet", "vanilla", "gan"]
    assert read_experiment("phantom").method_names == list(PAPER_METHODS)
    with pytest.raises(InputError, match=r"cohort\.table: .*cohort\.tsv is not there"):
        read_experiment("paper")
    for name in ("cohort.tsv", "vgg19-dcbb9e9d.pth", "inception_v3_google-0cc3c7bd.pth"):
        (tmp_path / name).touch()
    assert read_experiment("paper").preset == "paper"


def test_every_row_of_table_1_can_be_trained():
    assert set(PAPER_METHODS) == {*FILES, *ABLATIONS} - {"none"} | {"mri2pet"}
    for name, method in METHODS.items():
        if name in FILES:
            assert method.baseline == name
        elif name in ABLATIONS:
            assert method.ablation == name
