"""Gradients by replays make the same weights as plain ones, or are not used."""

from __future__ import annotations

import warnings

import pytest
import torch

from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.stages import load_config
from mri2pet.training import part as part_module
from mri2pet.training import train, trainer
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.graphed_gradients import PLAIN, GraphedGradients
from mri2pet.training.part import Part, can_be_graphed
from mri2pet.training.state import TrainingState
from mri2pet.training.step import training_step

WORLD = World(0, 1, torch.device("cpu"))


class Replaying:
    """A capture as CUDA makes it: it warms up, and the work is done at each replay alone.

    A replay writes the terms where the last one wrote them.
    """

    def __init__(self):
        self.captures = self.replays = 0
        self.graph = None

    def __call__(self, run, device):
        self.captures += 1
        for _ in range(3):
            run()

        def replay():
            self.replays += 1
            terms = self.graph._terms
            run()
            self.graph._terms = terms.copy_(self.graph._terms)

        return replay


class Small(torch.nn.Module):
    """A network of three layers: the last test trains the real one."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(2, 4, 3, padding=1)
        self.time = torch.nn.Linear(1, 4)
        self.last = torch.nn.Conv3d(4, 1, 3, padding=1)

    def forward(self, x_t, t, mri):
        time = self.time(t[:, None] / 999)[..., None, None, None]
        return self.last(torch.nn.functional.gelu(self.first(torch.cat((x_t, mri), 1)) + time))


@pytest.fixture
def start(cohort, settings):
    """A fresh state with such a capture (None: plain), and the steps of a batch of five."""
    config = load_config("compact", (*settings, "training.batch_size=5"))
    batches = TrainingBatches(ModelSpaceDataset(cohort, "train"), 0.4, 0.5, 3, augmented=False)

    def fresh(capture, **options):
        torch.manual_seed(0)
        network = Small().to(memory_format=torch.channels_last_3d)
        part = Part(network, 1e-3, 0.9, **options)
        if capture is not None:
            part.graph = GraphedGradients(network.parameters(), capture)
            if isinstance(capture, Replaying):
                capture.graph = part.graph
        return TrainingState({"network": part})

    def steps(state, count=1, micro_batch=2):
        training = config.training.model_copy(update={"micro_batch": micro_batch})
        given = config.model_copy(update={"training": training})
        return [training_step(state, batches, given, WORLD) for _ in range(count)]

    return fresh, steps


def weights(state):
    return torch.cat(
        [p.detach().flatten().clone() for p in state.parts["network"].module.parameters()]
    )


def test_replays_make_the_same_weights(start):
    """Micro-batches of 2, 2 and 1: the last one runs plainly, into the same gradients."""
    fresh, steps = start
    capture = Replaying()
    plain, graphed = fresh(None), fresh(capture)
    assert steps(graphed, 4) == steps(plain, 4)
    assert torch.equal(weights(graphed), weights(plain))
    assert all(
        torch.equal(graphed.parts["network"].average[k], plain.parts["network"].average[k])
        for k in plain.parts["network"].average
    )
    assert graphed.parts["network"].graph.works
    # Three plain ones make the first step; the second one begins with the capture.
    assert (PLAIN, capture.captures, capture.replays) == (3, 1, 3 * 2)


def test_a_capture_waits_for_the_next_step(start):
    """In the middle of one it would spoil the gradients that are there."""
    fresh, steps = start
    capture = Replaying()
    plain, graphed = fresh(None), fresh(capture)
    assert steps(graphed, 1, micro_batch=1) == steps(plain, 1, micro_batch=1)
    assert capture.captures == 0
    assert steps(graphed, 2, micro_batch=1) == steps(plain, 2, micro_batch=1)
    assert (capture.captures, capture.replays) == (1, 10)
    assert torch.equal(weights(graphed), weights(plain))


def test_a_graph_reads_and_writes_where_it_was_captured(start):
    """Batch and gradients stay where they are, also when somebody drops the gradients."""
    fresh, steps = start
    plain, graphed = fresh(None), fresh(Replaying())
    steps(plain, 2)
    steps(graphed, 2)

    def places():
        gradients = [p.grad.data_ptr() for p in graphed.parts["network"].module.parameters()]
        return [
            *gradients,
            *(x.data_ptr() for x in graphed.parts["network"].graph._static.tensors()),
        ]

    before = places()
    graphed.parts["network"].module.zero_grad(set_to_none=True)
    steps(plain, 2)
    steps(graphed, 2)
    assert places() == before
    assert torch.equal(weights(graphed), weights(plain))


def empty(run, device):
    for _ in range(3):
        run()
    return lambda: None


def refused(run, device):
    run()
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("capture", "told"),
    [(empty, "gradients differ by 1.0e"), (refused, "not permitted when stream is capturing")],
)
def test_a_capture_that_failed_is_told_once_and_not_used(start, capture, told):
    fresh, steps = start
    plain, graphed = fresh(None), fresh(capture)
    with pytest.warns(UserWarning, match=told) as warned:
        facts = steps(graphed, 2)
    assert len(warned) == 1
    assert graphed.parts["network"].graph.works is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts += steps(graphed, 2)
    assert facts == steps(plain, 4)
    assert torch.equal(weights(graphed), weights(plain))


def test_a_graph_that_adds_half_is_not_used(start):
    fresh, steps = start
    plain = fresh(None)

    def capture(run, device):
        def replay():
            run()
            torch._foreach_mul_([p.grad for p in graphed.parts["network"].module.parameters()], 0.5)

        return replay

    graphed = fresh(capture)
    with pytest.warns(UserWarning, match="gradients differ by 5.0e-01"):
        steps(graphed, 3)
    steps(plain, 3)
    assert torch.equal(weights(graphed), weights(plain))


def test_scaled_gradients_find_their_scale_before_the_capture(start):
    """While they overflow there is nothing to compare; the graph then follows the scale."""
    fresh, steps = start
    capture = Replaying()
    plain, graphed = fresh(None, scaled=True), fresh(capture, scaled=True)
    for state in (plain, graphed):
        parameter = next(state.parts["network"].module.parameters())
        hook = parameter.register_hook(lambda gradient: gradient * torch.inf)
        steps(state, 3)
        hook.remove()
    assert (graphed.parts["network"].graph.works, capture.captures) == (None, 0)
    steps(plain)
    steps(graphed)
    assert (graphed.parts["network"].graph.works, capture.captures) == (True, 1)
    for state in (plain, graphed):
        state.parts["network"].scaler.update(2.0**10)
    steps(plain, 2)
    steps(graphed, 2)
    assert (
        graphed.parts["network"].scaler.get_scale()
        == plain.parts["network"].scaler.get_scale()
        == 2.0**10
    )
    assert torch.equal(weights(graphed), weights(plain))


def test_only_one_process_on_a_gpu_without_compiling_is_graphed(start):
    assert can_be_graphed("cuda", parallel=False, compiled=False)
    assert not can_be_graphed("cpu", parallel=False, compiled=False)
    assert not can_be_graphed("cuda", parallel=True, compiled=False)
    assert not can_be_graphed("cuda", parallel=False, compiled=True)
    assert start[0](None).parts["network"].graph is None


@pytest.mark.slow
@pytest.mark.usefixtures("memory_cohort")
def test_nothing_is_captured_or_replayed_while_a_run_validates(tmp_path, settings, monkeypatch):
    """Validation and pictures lie between the steps; the run ends with the same model."""
    capture, during = Replaying(), []

    def made(parameters):
        capture.graph = GraphedGradients(parameters, capture)
        return capture.graph

    def watched(name):
        real = getattr(trainer, name)

        def call(*given, **named):
            before = (capture.captures, capture.replays)
            result = real(*given, **named)
            during.append((name, before == (capture.captures, capture.replays)))
            return result

        monkeypatch.setattr(trainer, name, call)

    more = ("training.volumes=10", "training.validate_every=2", "training.sample_images=1")
    monkeypatch.setattr("mri2pet.training.samples.STEPS", 2)
    go = {"data": tmp_path, "settings": (*settings, *more), "device": "cpu"}
    plain = train(tmp_path / "plain", **go)
    monkeypatch.setattr(part_module, "GraphedGradients", made)
    monkeypatch.setattr(part_module, "can_be_graphed", lambda *given, **named: True)
    watched("validate")
    watched("draw_samples")
    graphed = train(tmp_path / "graphed", **go)
    assert (capture.captures, capture.replays) == (1, 5 - PLAIN)
    assert during == [("draw_samples", True), ("validate", True)] * 5
    name = "model.safetensors"
    assert (plain / name).read_bytes() == (graphed / name).read_bytes()
