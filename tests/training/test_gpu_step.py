"""A training step on a GPU: the graph makes the weights of plain calls, and one wait is left."""

from __future__ import annotations

import warnings

import pytest
import torch

from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.loading import Ahead
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState, load_state, save_state
from mri2pet.training.step import training_step

pytestmark = pytest.mark.gpu

SHAPE = (32, 64, 64)
SETTINGS = (
    f"model.mri_shape={list(SHAPE)}",
    f"model.pet_shape={list(SHAPE)}",
    "training.batch_size=5",
    "training.micro_batch=2",
    "training.warmup_volumes=0",
)


class Blobs:
    """Smooth random pairs."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        coarse = torch.rand(1, 1, 4, 8, 8, generator=generator)
        mri = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear")[0]
        return mri, 1.5 * mri, str(index)


class Training:
    """A fresh state on the GPU and its steps, with or without the graph."""

    def __init__(self, precision, graphed):
        self.config = load_config("compact", (*SETTINGS, f"training.precision={precision}"))
        self.world = World(0, 1, torch.device("cuda", 0))
        torch.manual_seed(0)
        network = Network(self.config.model).to(self.world.device)
        network.to(memory_format=torch.channels_last_3d)
        self.part = Part(network, 1e-3, 0.9, scaled=precision == "fp16")
        self.state = TrainingState({"network": self.part})
        if not graphed:
            self.part.graph = None
        order = TrainingBatches(Blobs(), 0.4, 0.5, 3, augmented=False)
        self.batches = Ahead(order, self.config.training, self.world, 2, pinned=True)

    def steps(self, count):
        for _ in range(count):
            facts = training_step(self.state, self.batches, self.config, self.world)
        return facts

    def weights(self):
        values = [p.detach().flatten() for p in self.part.module.parameters()]
        return torch.cat(values).double()


def trained(precision, graphed, count=12):
    training = Training(precision, graphed)
    start = training.weights()
    with training.batches:
        facts = training.steps(count)
    return training, start, facts


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_graphed_step_makes_the_weights_of_a_plain_one(precision):
    """As near as two plain runs are: some gradients are summed by atomics, in a changing order."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no CUDA graph")
        graphed, start, facts = trained(precision, True)
    assert graphed.part.graph.works
    plain, _, others = trained(precision, False)
    again, _, _ = trained(precision, False)
    way = (plain.weights() - start).norm()
    noise = (plain.weights() - again.weights()).norm()
    assert way > 0
    assert (graphed.weights() - plain.weights()).norm() <= 3 * noise + 0.01 * way
    assert facts["loss"] == pytest.approx(others["loss"], rel=0.02)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("graphed", [True, False])
def test_a_step_waits_once(precision, graphed):
    training = Training(precision, graphed)
    with training.batches:
        training.steps(12)  # fp16 finds its scale, and the graph is captured
        assert not graphed or training.part.graph.works
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                training.steps(1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [w for w in caught if "synchroniz" in str(w.message)]
    assert len(waits) == 1


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole, start, _ = trained("fp32", True)
    half, _, _ = trained("fp32", True, count=6)
    save_state(tmp_path, half.state)
    resumed = Training("fp32", True)
    assert load_state(tmp_path, resumed.state) == ""
    for parameter in resumed.part.module.parameters():
        moments = resumed.part.optimizer.state[parameter]
        assert moments["step"].is_cuda
        assert moments["exp_avg"].stride() == parameter.stride()
    with resumed.batches:
        resumed.steps(6)
    way = (whole.weights() - start).norm()
    again, _, _ = trained("fp32", True)
    noise = (whole.weights() - again.weights()).norm()
    assert (resumed.weights() - whole.weights()).norm() <= 3 * noise + 0.01 * way
