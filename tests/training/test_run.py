"""A run learns, resumes to the same bits, survives a damaged checkpoint, and refuses nonsense."""

from __future__ import annotations

import json
import os
import shutil
import signal

import nibabel
import pytest
import safetensors.torch
import torch

from mri2pet.checkpoint import load_model
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.training import log, train
from mri2pet.training.stopping import Stopped

from .conftest import SETTINGS, MemoryCohort


class Killed(BaseException):
    pass


def killer(at_volume):
    def on_event(kind, facts):
        if kind == "step" and facts["volumes"] == at_volume:
            raise Killed

    return on_event


def weights(run):
    return safetensors.torch.load_file(run / "model" / "model.safetensors")


@pytest.fixture
def go(memory_cohort, settings, tmp_path):
    def run(name, *more, **options):
        folder = tmp_path / name
        train(folder, data=tmp_path, settings=(*settings, *more), device="cpu", **options)
        return folder

    return run


def test_a_run_learns_and_leaves_a_model(go):
    run = go(
        "run",
        "training.volumes=40",
        "training.checkpoint_every=1000",
        "training.lr=2e-3",
        "training.augment=false",
    )
    checks = [r["val_loss"] for r in log.read(run) if "val_loss" in r]
    assert checks[-1] < 0.75 * checks[0]
    model = load_model(run)
    assert (model.pet_mean, model.pet_std) == (0.4, 0.5)
    assert model.provenance["volumes"] == 40
    assert model.provenance["training_pairs"] == 6
    assert model.provenance["simulated"] is False
    assert json.loads((run / "config.json").read_text())["training"]["lr"] == 2e-3
    assert (run / "losses.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of eight volumes, made once."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mri2pet.training.run.build_cache", lambda *given, **named: MemoryCohort())
        settings = (*SETTINGS, "training.volumes=8")
        train(folder / "whole", data=folder, settings=settings, device="cpu")
    return folder / "whole"


@pytest.fixture
def whole(trained, tmp_path):
    """Its copy, for every test to spoil."""
    return shutil.copytree(trained, tmp_path / "whole")


def same_weights(run, other):
    ours, theirs = weights(run), weights(other)
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_killed_run_goes_on_to_the_same_bits(go, whole):
    with pytest.raises(Killed):
        go("killed", "training.volumes=8", on_event=killer(6))
    killed = go("killed", "training.volumes=8")
    assert same_weights(whole, killed)
    assert [r["volumes"] for r in log.read(killed)] == [r["volumes"] for r in log.read(whole)]


def test_a_damaged_checkpoint_is_passed_over(go, whole):
    before = weights(whole)
    last = whole / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1000])
    told = []
    go(
        "whole",
        "training.volumes=8",
        on_event=lambda kind, facts: told.append(facts) if kind in ("note", "start") else None,
    )
    assert "damaged" in told[0]["text"]
    assert told[1]["volumes"] == 4
    after = weights(whole)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for path in (whole / "checkpoints").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(Mri2petError, match="no checkpoint can be read"):
        go("whole", "training.volumes=8")


def test_a_full_disk_costs_no_checkpoint(go, whole, monkeypatch):
    from mri2pet.training import state

    write, saves = state.write_atomically, []

    def full(path, content):
        saves.append(path.name)
        if len(saves) == 2:
            raise OSError(28, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            go("full", "training.volumes=8")
    starts = []
    run = go(
        "full",
        "training.volumes=8",
        on_event=lambda kind, facts: starts.append(facts["volumes"]) if kind == "start" else None,
    )
    assert starts == [4]
    assert same_weights(whole, run)


def test_a_finished_run_is_left_alone(go, whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    go("whole", "training.volumes=8")
    changed = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed <= {"log.jsonl"}


def test_sigterm_saves_before_it_stops(go, whole):
    def terminate(kind, facts):
        if kind == "step" and facts["volumes"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="stopped at volume 6, which is saved"):
        go("told", "training.volumes=8", on_event=terminate)
    starts = []
    told = go(
        "told",
        "training.volumes=8",
        on_event=lambda kind, facts: starts.append(facts["volumes"]) if kind == "start" else None,
    )
    assert starts == [6]
    assert same_weights(whole, told)


def test_a_run_starts_from_another_model(go, whole, tmp_path):
    start = go("second", "training.volumes=2", f"training.init={whole}", "training.lr=1e-12")
    wanted, got = weights(whole), weights(start)
    assert all(torch.allclose(got[k], wanted[k], atol=1e-6) for k in wanted)
    assert load_model(start).provenance["init_sha256"] == load_model(whole).sha256
    scratch = weights(go("scratch", "training.volumes=2", "training.lr=1e-12"))
    assert not all(torch.allclose(scratch[k], wanted[k], atol=1e-6) for k in wanted)
    other = ("model.cond=embedding", "model.linear_components=0")
    with pytest.raises(UsageError, match="its network differs"):
        go("third", "training.volumes=2", f"training.init={whole}", *other)


def test_a_run_fits_a_linear_denoiser_to_a_network_that_was_trained_without(go):
    without = go("without", "training.volumes=2", "model.linear_components=0")
    model = go(
        "fitted",
        "training.volumes=2",
        f"training.init={without}",
        "training.lr=1e-12",
        "model.linear_components=1",
    )
    wanted, got = weights(without), weights(model)
    assert all(torch.allclose(got[k], wanted[k], atol=1e-6) for k in wanted)
    assert {k for k in got if k not in wanted} == {
        f"linear.{name}"
        for name in ("mean", "directions", "regression", "offsets", "mixture", "table")
    }
    assert got["linear.directions"].norm() == pytest.approx(1)


def test_another_configuration_or_a_foreign_folder_is_refused(go, tmp_path):
    go("run", "training.volumes=2")
    with pytest.raises(UsageError, match=r"training\.lr: 0\.0004 → 0\.001"):
        go("run", "training.volumes=2", "training.lr=1e-3")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no run"):
        go("other", "training.volumes=2")


@pytest.mark.slow
def test_the_reference_of_the_pets_is_remembered_by_its_content(go, tmp_path):
    from mri2pet.imaging.suvr.regions import cerebellum

    def save_voi(keep):
        region = cerebellum(2)
        image = nibabel.Nifti1Image((region.data > 0.5)[:keep].astype("uint8"), region.affine)
        nibabel.save(image, tmp_path / "voi.nii")

    save_voi(99)
    by_voi = ("training.volumes=2", f"data.reference={tmp_path / 'voi.nii'}")
    recorded = load_model(go("run", *by_voi)).provenance["reference"]
    assert recorded["key"].startswith("sha256:")
    assert recorded["name"].startswith("voi.nii, sha256 ")
    assert recorded["unit"] == "SUVR"
    go("run", *by_voi)
    with pytest.raises(UsageError, match=r"data\.reference: sha256:\w+ → cerebellum"):
        go("run", "training.volumes=2")
    save_voi(45)
    with pytest.raises(UsageError, match=r"data\.reference: sha256:\w+ → sha256:"):
        go("run", *by_voi)
    with pytest.raises(InputError, match="there is no such file"):
        go("new", "training.volumes=2", "data.reference=absent.nii")
    assert not (tmp_path / "new").exists()
    alone = go("alone", "training.volumes=2", "data.reference=minmax")
    assert load_model(alone).provenance["reference"]["unit"] == "0 to 1"
    assert load_model(go("whole", "training.volumes=2")).provenance["reference"] == {
        "key": "cerebellum",
        "name": "whole cerebellum, built in",
        "unit": "SUVR",
    }


def test_a_loss_that_is_not_finite_names_the_volumes(go, memory_cohort, monkeypatch):
    monkeypatch.setattr(type(memory_cohort), "pet", lambda self, row: self.mri(row) * float("nan"))
    with pytest.raises(Mri2petError, match=r"not finite at volume 0 \(sub-0\d, sub-0\d\)"):
        go("run", "training.volumes=2")


def test_settings_are_checked_before_any_work(go):
    with pytest.raises(UsageError, match=r"training\.speed"):
        go("run", "training.speed=9")
    with pytest.raises(UsageError, match=r"training\.volumes"):
        go("run", "training.volumes=0")
    with pytest.raises(UsageError, match="unknown preset 'huge'"):
        go("run", preset="huge")
    with pytest.raises(UsageError, match=r"section\.key=value"):
        go("run", "volumes")
