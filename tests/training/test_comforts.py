"""Batches ahead, checkpointing, compiling, pictures, TensorBoard, and the summary of runs."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from mri2pet.cli import main as cli
from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.diffusion.objective import training_objective
from mri2pet.errors import InputError
from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training import log, train
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.loading import Ahead
from mri2pet.training.part import Part
from mri2pet.training.summary import summarise_run


@pytest.fixture
def batches(cohort):
    return TrainingBatches(ModelSpaceDataset(cohort, "train"), 0.4, 0.5, seed=3, augmented=True)


def same(a, b):
    return a.names == b.names and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("mri", "pet", "noise", "t")
    )


def test_batches_made_ahead_are_the_same(batches, settings):
    training = load_config("compact", (*settings, "training.batch_size=4")).training
    made = []
    make = batches.batch
    batches.batch = lambda first, count: made.append((first, count)) or make(first, count)
    with Ahead(batches, training, World(0, 1, torch.device("cpu")), 2) as ahead:
        for first in (0, 2, 4, 6, 8):
            assert same(ahead.batch(first, 2), make(first, 2))
    assert made[:5] == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2)]
    assert len(made) > 5
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("rank", "micro", "expected"),
    [
        (0, 2, [(0, 2), (2, 1), (6, 2), (8, 1), (12, 2)]),
        (1, 2, [(3, 2), (5, 1), (9, 2), (11, 1), (15, 2)]),
        (1, 8, [(3, 3), (9, 3), (15, 3)]),
    ],
)
def test_every_process_knows_which_volumes_follow(batches, rank, micro, expected):
    settings = ("training.batch_size=6", f"training.micro_batch={micro}")
    world = World(rank, 2, torch.device("cpu"))
    ahead = Ahead(batches, load_config("compact", settings).training, world, 0)
    places = [expected[0]]
    while len(places) < len(expected):
        places.append(ahead.following(*places[-1]))
    assert places == expected


def gradients(network, forward=None):
    """Gradients of one batch, and the bytes that were kept for the way back."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, 1, 16, 32, 32)
    pet, mri, noise = (torch.rand(shape, generator=generator) for _ in range(3))
    t = torch.tensor([5, 900])
    kept = {}
    network.zero_grad()

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        whole = network if forward is None else forward
        objective = training_objective(whole, "v", mri, pet, t, noise, 0.25)
    objective.total.backward()
    return torch.cat([p.grad.flatten().clone() for p in network.parameters()]), sum(kept.values())


@pytest.fixture
def network(settings):
    torch.manual_seed(0)
    return Network(load_config("compact", settings).model)


def test_checkpointing_keeps_less_and_gives_the_same_gradients(network):
    whole, bytes_whole = gradients(network)
    network.unet.checkpointing = True
    again, bytes_again = gradients(network)
    assert torch.equal(whole, again)
    assert bytes_again < 0.5 * bytes_whole


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_network_gives_the_same_gradients(network, checkpointing):
    """torch.compile takes the native ops as they are, without falling back between them."""
    plain, bytes_plain = gradients(network)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network.unet.checkpointing = checkpointing
    part = Part(network, 1e-3, 0.9, compiled=True)
    compiled, bytes_compiled = gradients(network, part.forward)
    assert (compiled - plain).norm() < 1e-4 * plain.norm()
    assert not torch._dynamo.utils.counters["graph_break"]
    if checkpointing:
        assert bytes_compiled < 0.6 * bytes_plain


@pytest.mark.usefixtures("memory_cohort")
@pytest.mark.parametrize("name", ["activation_checkpointing", "compile"])
def test_settings_reach_the_network(tmp_path, settings, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(torch, "compile", lambda module: seen.update(compile=True) or module)
    from mri2pet.nn import unet

    real = unet.checkpoint

    def checkpoint(*given, **options):
        seen["activation_checkpointing"] = True
        return real(*given, **options)

    monkeypatch.setattr(unet, "checkpoint", checkpoint)
    more = ("training.volumes=2", f"training.{name}=true")
    train(tmp_path / "run", data=tmp_path, settings=(*settings, *more), device="cpu")
    assert seen == {name: True}


@pytest.mark.usefixtures("memory_cohort")
def test_every_validation_draws_a_picture(tmp_path, settings, monkeypatch):
    from PIL import Image

    monkeypatch.setattr("mri2pet.training.samples.STEPS", 2)
    more = ("training.volumes=4", "training.validate_every=2", "training.sample_images=2")
    train(tmp_path / "run", data=tmp_path, settings=(*settings, *more), device="cpu")
    pictures = sorted((tmp_path / "run" / "samples").iterdir())
    assert [path.name for path in pictures] == ["000000002.png", "000000004.png"]
    assert Image.open(pictures[0]).size == (660, 500)
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_tensorboard_gets_the_numbers_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, key, value, step):
            written.append((self.folder, key, value, step))

        def flush(self):
            written.append("flushed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    log.Board(tmp_path).add({"volumes": 8, "of": 16, "loss": 0.5})
    assert written == [(str(tmp_path / "tensorboard"), "loss", 0.5, 8), "flushed"]
    written.clear()
    log.Board(tmp_path, wanted=False).add({"volumes": 8, "loss": 0.5})
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log.Board(tmp_path).add({"volumes": 8, "loss": 0.5})
    assert not written


@pytest.mark.slow
@pytest.mark.usefixtures("memory_cohort")
def test_runs_are_summarised(tmp_path, settings, capsys):
    more = ("training.volumes=10", "training.ablation=no-laplacian")
    train(tmp_path / "one", data=tmp_path, settings=(*settings, *more), device="cpu")
    one = summarise_run(tmp_path / "one")
    checks = [r["val_loss"] for r in log.read(tmp_path / "one") if "val_loss" in r]
    assert (one.volumes, one.of, one.finished) == (10, 10, True)
    assert (one.val_loss, one.best_val_loss) == (checks[-1], min(checks))
    log.forget_after(tmp_path / "one", 9)
    assert not summarise_run(tmp_path / "one").finished
    assert cli.main(["runs", str(tmp_path / "one")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "finetune, no-laplacian" in lines[1]
    with pytest.raises(InputError, match="is no run"):
        summarise_run(tmp_path)
