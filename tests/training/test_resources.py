"""What a configuration leaves open is settled by device, cores and memory, and kept by its run."""

from __future__ import annotations

import json
import os

import pytest
import torch

from mri2pet import memory
from mri2pet.cli.main import main
from mri2pet.memory import MemoryPlan
from mri2pet.stages import load_config
from mri2pet.training import resources, train
from mri2pet.training.folder import stored_config
from mri2pet.training.resources import settled

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


@pytest.fixture
def gpu(monkeypatch):
    """Sixteen cores, and a GPU with so many GiB free where a volume takes one beside two fixed."""

    def free(gib):
        peaks = {n: (2 + n) * GIB for n in memory.BATCHES}
        plan = MemoryPlan("training", 2 * GIB, peaks, gib * GIB)
        monkeypatch.setattr(resources, "training_plan", lambda config, device: plan)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return free


@pytest.mark.parametrize(("preset", "number"), [("paper", 1), ("compact", 4)])
def test_a_cpu_takes_a_fixed_micro_batch_and_no_loaders(preset, number, monkeypatch):
    monkeypatch.setattr(resources, "training_plan", None)  # not asked: memory is not the measure
    config = settled(load_config(preset), CPU)
    assert config.training.micro_batch == number
    assert config.data.loaders == 0


@pytest.mark.parametrize(
    ("free", "batch_size", "processes", "number"),
    [
        (80, 128, 1, 32),  # half of 80 is left: 2 + 32 + 1 for the libraries fit, 2 + 64 do not
        (80, 128, 4, 32),
        (80, 8, 1, 8),
        (80, 40, 1, 20),  # two parts of one size rather than 32 and 8
        (24, 12, 2, 6),
        (16, 9, 1, 3),
        (4, 8, 1, 1),  # nothing fits: torch will say so
    ],
)
def test_a_gpu_takes_what_fits_in_even_parts(gpu, free, batch_size, processes, number):
    gpu(free)
    config = load_config("paper", (f"training.batch_size={batch_size}",))
    assert settled(config, CUDA, processes).training.micro_batch == number


def test_the_loaders_leave_two_cores_to_every_process(gpu, monkeypatch):
    gpu(80)
    config = load_config("paper")
    assert settled(config, CUDA).data.loaders == 14
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert settled(config, CUDA, 8).data.loaders == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert settled(config, CUDA, 16).data.loaders == 1


def test_what_is_given_stays_and_a_run_keeps_its_micro_batch(gpu):
    gpu(80)
    given = load_config("paper", ("training.micro_batch=3", "data.loaders=0"))
    assert settled(given, CUDA) == given
    begun = settled(load_config("paper"), CUDA)
    gpu(4)
    assert settled(load_config("paper"), CUDA, before=begun) == begun
    assert settled(given, CUDA, before=begun).training.micro_batch == 3


@pytest.mark.slow
@pytest.mark.usefixtures("memory_cohort")
def test_a_run_stores_what_was_settled_and_goes_on_with_it(tmp_path, settings, monkeypatch):
    settings = [s for s in settings if "micro_batch" not in s]
    go = {"data": tmp_path, "device": "cpu"}
    train(tmp_path / "run", settings=(*settings, "training.volumes=2"), **go)
    stored = stored_config(tmp_path / "run")
    assert (stored.training.micro_batch, stored.data.loaders) == (2, 0)
    monkeypatch.setattr(resources, "VOXELS_ON_CPU", 1)
    used = []
    from mri2pet.training import trainer

    real = trainer.training_step
    monkeypatch.setattr(
        trainer,
        "training_step",
        lambda state, batches, config, world: (
            used.append(config.training.micro_batch) or real(state, batches, config, world)
        ),
    )
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    train(tmp_path / "run", settings=(*settings, "training.volumes=2"), **go)
    given = (*settings, "training.volumes=2", "training.micro_batch=1")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    train(tmp_path / "run", settings=given, **go)
    assert used == [2, 1]
    assert stored_config(tmp_path / "run") == stored


@pytest.mark.usefixtures("memory_cohort")
def test_out_of_memory_says_what_would_fit(tmp_path, settings, monkeypatch):
    from mri2pet.errors import Mri2petError
    from mri2pet.training import trainer

    plan = MemoryPlan("training", 0, {1: GIB, 2: 2 * GIB}, 2 * GIB)

    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "training_plan", lambda config, device: plan)
    monkeypatch.setattr(trainer, "training_step", full)
    with pytest.raises(Mri2petError, match=r"training with 2 volumes at once; .* 1 would fit"):
        train(tmp_path / "run", data=tmp_path, settings=settings, device="cpu")


def test_dry_run_shows_the_numbers(capsys, monkeypatch):
    monkeypatch.setattr(memory, "BATCHES", (1,))
    shape = "model.pet_shape=[16,64,64]"
    arguments = ["train", "run", "--data", "x", "--dry-run", "--device", "cpu", "--set", shape]
    assert main(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["training"]["micro_batch"], shown["data"]["loaders"]) == (8, 0)
