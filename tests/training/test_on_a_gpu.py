"""A training step and a whole run on the device, and that both learn what the CPU learns."""

from __future__ import annotations

import json

import pytest
import torch

from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.nn import Network
from mri2pet.ops import backend
from mri2pet.stages import load_config
from mri2pet.training import train
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState
from mri2pet.training.step import training_step

LARGEST = {"fp32": 2e-2, "bf16": 1e-1, "fp16": 3e-2}  # convolutions on a GPU may round to TF32


def gpu(*values):
    return pytest.param(*values, marks=pytest.mark.gpu)


def one_step(cohort, settings, device, precision, form):
    """Loss, norm of the gradients, and Adam's first moments: the clipped gradients, scaled."""
    config = load_config("compact", [*settings, f"training.precision={precision}"])
    data = TrainingBatches(ModelSpaceDataset(cohort, "train"), 0.4, 0.5, 3, augmented=True)
    torch.manual_seed(0)
    network = Network(config.model).to(device).to(memory_format=torch.channels_last_3d)
    part = Part(network, 1e-3, 0.9, scaled=precision == "fp16")
    if part.scaler.is_enabled():  # by its first scale, 65,536, this step overflows and is left out
        part.scaler = torch.amp.GradScaler(device, init_scale=256.0)
    world = World(0, 1, torch.device(device))
    with backend.use_backend(form):
        facts = training_step(TrainingState({"network": part}), data, config, world)
    moments = [part.optimizer.state[p]["exp_avg"] for p in network.parameters()]
    return facts, torch.cat([m.detach().flatten().double().cpu() for m in moments])


@pytest.mark.parametrize(
    ("device", "precision"),
    [("cpu", "fp32"), gpu("cuda", "fp32"), gpu("cuda", "bf16"), gpu("cuda", "fp16")],
)
def test_a_step_is_that_of_plain_torch_on_the_cpu(cohort, settings, device, precision):
    expected, gradients = one_step(cohort, settings, "cpu", "fp32", "reference")
    facts, ours = one_step(cohort, settings, device, precision, "native")
    allowed = LARGEST[precision]
    assert facts["loss"] == pytest.approx(expected["loss"], rel=allowed)
    assert facts["grad_norm"] == pytest.approx(expected["grad_norm"], rel=allowed)
    assert float((ours - gradients).norm() / gradients.norm()) < allowed


@pytest.mark.parametrize(("device", "volumes"), [("cpu", 8), gpu("cuda", 60)])
def test_a_run_with_loaders_draws_while_it_learns(
    memory_cohort, settings, tmp_path, monkeypatch, device, volumes
):
    """Pictures capture a CUDA graph while the loader threads pin memory."""
    if device == "cpu":
        monkeypatch.setattr("mri2pet.training.samples.STEPS", 2)
    given = [*settings, f"training.volumes={volumes}", "training.validate_every=4"]
    given += ["training.sample_images=2", "training.checkpoint_every=1000", "data.loaders=4"]
    run = tmp_path / "run"
    model = train(run, data=tmp_path, settings=given, device=device)
    assert (model / "model.safetensors").exists()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    validations = [line for line in lines if "val_loss" in line]
    assert [line["volumes"] for line in validations] == list(range(4, volumes + 1, 4))
    assert validations[-1]["val_loss"] < validations[0]["val_loss"]
    pictures = sorted(path.name for path in (run / "samples").iterdir())
    assert pictures == [f"{n:09d}.png" for n in range(4, volumes + 1, 4)]
