"""What the house gives every baseline: command, plan, pictures, and a place for new ones."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from mri2pet import memory
from mri2pet.baselines import FILES
from mri2pet.baselines.gan import Gan
from mri2pet.baselines.wasserstein import generator_loss
from mri2pet.checkpoint import load_model
from mri2pet.cli.main import main
from mri2pet.config import BaselineConfig
from mri2pet.training import log, train
from mri2pet.training.summary import summarise_run, table

from ..training.conftest import MemoryCohort
from .conftest import SMALL


@pytest.fixture
def cohort(monkeypatch):
    """Found by `train`, whatever folder it is given; the calls that asked for it."""
    asked = []
    monkeypatch.setattr(
        "mri2pet.training.run.build_cache", lambda *a, **k: asked.append(a) or MemoryCohort()
    )
    return asked


def command(run, *more: str) -> list[str]:
    """`mri2pet train` of a small cohort."""
    given = [part for setting in SMALL for part in ("--set", setting)]
    return ["train", str(run), "--data", "d", "--device", "cpu", "--quiet", *given, *more]


def test_the_command_trains_and_draws_pictures(cohort, sources, tmp_path, capsys):
    run = tmp_path / "run"
    more = ("--baseline", "dcl", "--init", str(sources["gan"]), "--set", "training.sample_images=1")
    assert main(command(run, *more, "--set", "training.volumes=4")) == 0
    assert [p.name for p in (run / "samples").iterdir()] == ["000000004.png"]
    assert f"model: {run / 'model'}" in capsys.readouterr().out
    assert load_model(run).provenance["config"]["training"]["baseline"] == "dcl"
    assert main(["runs", str(run)]) == 0
    assert "finetune, dcl" in capsys.readouterr().out


def test_a_dry_run_shows_settings_and_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "BATCHES", (2, 4, 8))
    arguments = command(tmp_path / "run", "--baseline", "maskgan", "--init", "any", "--dry-run")
    assert main([*arguments, "--set", "baseline.consistency=7"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert shown["baseline"] == {**BaselineConfig().model_dump(), "consistency": 7.0}
    assert shown["training"]["baseline"] == "maskgan"
    rows = [line.split()[0] for line in err.splitlines() if " GiB" in line and "plan" not in line]
    assert rows == ["4", "8"]  # from the least that it takes
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["gan", "--ablation", "no-laplacian"], "do not go together"),
        (["gan", "--set", "training.precision=bf16"], "takes fp32 alone"),
        (["gan", "--set", "model.cond=concat"], "by its embedding alone"),
        (["gan", "--set", "training.micro_batch=1"], "at least 2 at a time"),
        (["maskgan"], "needs --init RUN"),
        (["maskgan", "--init", "demo"], "of the family diffusion"),
        (["maskgan", "--init", "gan-source", "--set", "training.micro_batch=2"], "at least 4"),
        (["ddpm-pa", "--init", "gan-source"], "of the family gan"),
        (["gan", "--set", "training.batch_size=9"], "needs a divisor"),
    ],
)
def test_a_refusal_is_one_sentence_before_any_work(cohort, sources, tmp_path, capsys, given, told):
    given = [str(sources["gan"]) if word == "gan-source" else word for word in given]
    assert main(command(tmp_path / "run", "--baseline", *given)) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.startswith("mri2pet: error: ")
    assert err.count("\n") == 1
    assert not cohort
    assert not (tmp_path / "run").exists()


class Nearest(Gan):
    """A stranger's: the generator is told the PET as well."""

    def of_generator(self, turn):
        drawn, _ = turn.draw(turn.draws.z())
        terms = generator_loss(turn.score(drawn))
        error = (drawn - turn.real).abs().mean()
        return terms | {"loss": terms["loss"] + error, "error": error}


def test_a_stranger_adds_one_by_a_file_and_a_line(cohort, tmp_path, monkeypatch):
    """It is trained, logged, resumed, listed and loaded like the others."""
    module = ModuleType("mri2pet.baselines.nearest")
    module.BASELINE = Nearest()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FILES, "nearest-pet", "nearest")
    run = tmp_path / "run"
    settings = (*SMALL, "training.baseline=nearest-pet", "baseline.n_critic=1")
    for _ in range(2):  # the second goes on from the end
        train(run, data="d", settings=settings, device="cpu")
    model = load_model(run)
    assert (model.config.family, model.provenance["updates"]) == ("gan", 2)
    checked = log.read(run)[-1]
    assert {"val_loss", "val_gap"} <= checked.keys()
    assert "finetune, nearest-pet" in table([summarise_run(run)])
