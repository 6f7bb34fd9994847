"""Processes that prepare and finish subjects while one process draws for all of them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

import mri2pet
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.synthesis import workers
from mri2pet.synthesis.drawing import Drawer, draw_together
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import OutputPaths
from mri2pet.synthesis.result import SynthesisResult


class Ears(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def subject_finished(self, result: SynthesisResult) -> None:
        self.heard.append(f"{Path(result.label).name} {result.status}")


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def draw(engine: Any, mris: Any, numbers: Any, options: Any, on_step: Any = None) -> Any:
        if 9 in numbers:
            raise Mri2petError("the device has no memory left")
        return [np.stack([m, np.full_like(m, os.getpid())]) for m in mris]

    monkeypatch.setattr(workers, "draw_together", draw)
    monkeypatch.setattr(workers, "TRIES", 2)
    monkeypatch.syspath_prepend(Path(__file__).parent)  # workers take the path over
    naming = import_module("naming_runner")

    def run(*stems: str, jobs: int = 2, observer: Observer | None = None) -> Any:
        drawer = Drawer(
            {"name": "none"}, "0", {}, (1, 2, 3), (1, 2, 3), "torch", "cpu", "cpu", draw
        )  # type: ignore[arg-type]
        runner = naming.Runner(
            drawer,
            SynthesisOptions(),
            {},
            None,
            tmp_path,
            observer or Observer(),
            None,  # type: ignore[arg-type]
        )
        engine: Any = SimpleNamespace(device=SimpleNamespace(type="cpu"))
        subjects = [SubjectInput(tmp_path / stem, stem) for stem in stems]
        return workers.run_in_workers(runner, engine, subjects, jobs)

    return run


def test_workers_run_subjects_and_this_process_draws(go: Any) -> None:
    ears = Ears()
    results = go("a1", "b2", "c3", "refused4", observer=ears)
    assert [r.status for r in results] == ["done", "done", "done", "failed"]
    assert [int(np.asarray(r.pet.dataobj)[0, 0, 0]) for r in results[:3]] == [1, 2, 3]
    assert {r.sidecar["drawn_by"] for r in results[:3]} == {int(np.float32(os.getpid()))}
    assert os.getpid() not in {r.sidecar["pid"] for r in results[:3]}
    assert isinstance(results[3].error, InputError)
    assert sorted(ears.heard) == ["a1 done", "b2 done", "c3 done", "refused4 failed"]
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_replaced_and_its_subject_begun_again(go: Any) -> None:
    results = go("killed1", "b2", "always-killed3", "d4", "lost5")
    assert [r.status for r in results] == ["done", "done", "failed", "done", "done"]
    assert "was ended 2 times" in results[2].reason
    assert "fewer --jobs" in results[2].reason


def test_many_people_go_through_few_workers_once_each(go: Any) -> None:
    ears = Ears()
    stems = ["a1", "b2", "killed3", "c4", "refused5", "d6", "e7", "f8"]
    results = go(*stems, observer=ears)
    failed = {"refused5"}
    assert [r.status for r in results] == ["failed" if s in failed else "done" for s in stems]
    done = [r for r in results if r.status == "done"]
    assert [int(np.asarray(r.pet.dataobj)[0, 0, 0]) for r in done] == [1, 2, 3, 4, 6, 7, 8]
    assert len(ears.heard) == len(stems)


def test_a_failure_to_draw_is_that_subjects_alone(go: Any) -> None:
    results = go("a1", "b9", "c3")
    assert [r.status for r in results] == ["done", "failed", "done"]
    assert results[1].reason == "the device has no memory left"


def test_ctrl_c_leaves_no_worker(go: Any) -> None:
    class Interrupts(Observer):
        def subject_finished(self, result: SynthesisResult) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("a1", "b2", "c3", "d4", observer=Interrupts())
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("device", "largest", "batch"),
    [("cpu", 9, 1), ("cuda", 9, 8), ("cuda", 6, 6), ("cuda", None, 1)],
)
def test_a_gpu_draws_people_together_as_far_as_its_memory_goes(
    device: str, largest: int | None, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    given: dict[str, Any] = {}

    def draws(engine: Any, mris: Any, numbers: Any, **options: Any) -> Any:
        given.update(options)
        return torch.zeros(len(mris), options["samples"], 1, 2, 2, 2)

    plan = SimpleNamespace(largest=largest)
    monkeypatch.setattr("mri2pet.engines.ensemble.memory_plan", lambda engine: plan)
    monkeypatch.setattr("mri2pet.engines.sampling.sample_subjects", draws)
    engine: Any = SimpleNamespace(
        device=SimpleNamespace(type=device),
        batch=None,
        pet_mean=1.0,
        pet_std=1.0,
        provenance={},
        config=SimpleNamespace(family="diffusion", linear_components=0),
    )
    mris = [np.zeros((2, 2, 2), np.float32)] * 2
    assert len(draw_together(engine, mris, [1, 2], SynthesisOptions(samples=4))) == 2
    assert given["batch"] == batch


@pytest.mark.parametrize(
    ("jobs", "out", "told"),
    [(0, "out", "at least one process"), (2, None, "are for an output folder")],
)
def test_jobs_that_make_no_sense(jobs: int, out: str | None, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        mri2pet.synthesize(tmp_path, None if out is None else tmp_path / out, jobs=jobs)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_several_jobs_write_the_same_bytes(
    head: nibabel.Nifti1Image, small_model: Path, tmp_path: Path
) -> None:
    """As commands of their own: what the tests spare in this process, workers would not."""
    for stem in ("sub-01", "sub-02"):
        data = np.asarray(head.dataobj, dtype=np.int16).copy()
        data[0, 0, 0] = int(stem[-1])
        (tmp_path / "in").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(data, head.affine), tmp_path / "in" / f"{stem}_T1w.nii.gz")
    (tmp_path / "in" / "sub-03_T1w.nii.gz").write_bytes(b"no image")

    def command(jobs: int) -> Path:
        out = tmp_path / f"out-{jobs}"
        given = ["synthesize", "in", "-o", out, "--model", small_model, "--skull-stripped"]
        more = ["--samples", "2", "--steps", "2", "--jobs", str(jobs), "--quiet"]
        done = subprocess.run([sys.executable, "-m", "mri2pet", *given, *more], cwd=tmp_path)
        assert done.returncode == 3
        return out

    one, two = command(1), command(2)
    for stem in ("sub-01", "sub-02"):
        ours, theirs = (OutputPaths.of(out, stem) for out in (one, two))
        assert ours.pet.read_bytes() == theirs.pet.read_bytes()
        assert ours.std.read_bytes() == theirs.std.read_bytes()
        assert theirs.report.is_file()
    assert (one / "failures.tsv").read_text() == (two / "failures.tsv").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_cluster_writes_the_same_numbers(
    head_file: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'mri2pet[ray]')")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / head_file.name).write_bytes(head_file.read_bytes())
    (folder / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    done, failed = mri2pet.synthesize(folder, tmp_path / "ray", ray="local", jobs=2, **quick)
    assert (done.status, failed.status) == ("done", "failed")
    (alone, _) = mri2pet.synthesize(folder, tmp_path / "alone", **quick)
    there = done.sidecar["measurements"]["cortical_suvr"]["mean"]
    assert there == pytest.approx(alone.sidecar["measurements"]["cortical_suvr"]["mean"], abs=0.02)
    (again, _) = mri2pet.synthesize(folder, tmp_path / "ray", **quick)
    assert again.status == "skipped"


def test_a_model_in_memory_does_not_go_to_ray(quick: dict[str, Any], tmp_path: Path) -> None:
    from mri2pet.checkpoint import load_model

    (tmp_path / "sub-01_T1w.nii.gz").touch()
    with pytest.raises(UsageError, match="models that its workers can load"):
        mri2pet.synthesize(
            tmp_path, tmp_path / "out", ray="local", **quick | {"model": load_model(quick["model"])}
        )
