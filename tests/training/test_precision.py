"""Scaled gradients: the same step where nothing overflows, no step where something does."""

from __future__ import annotations

import pytest
import torch

from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training import train
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState, load_state, save_state
from mri2pet.training.step import autocast, training_step

CPU = torch.device("cpu")


@pytest.fixture
def step(cohort, settings):
    config = load_config("compact", settings)
    batches = TrainingBatches(ModelSpaceDataset(cohort, "train"), 0.4, 0.5, 3, augmented=False)

    def fresh(scaled):
        torch.manual_seed(0)
        return TrainingState({"network": Part(Network(config.model), 1e-3, 0.9, scaled=scaled)})

    return fresh, lambda state: training_step(state, batches, config, World(0, 1, CPU))


def parameters(state):
    return torch.cat(
        [p.detach().flatten().clone() for p in state.parts["network"].module.parameters()]
    )


def test_scaled_gradients_make_the_same_step(step):
    fresh, run = step
    plain, scaled = fresh(False), fresh(True)
    facts, others = run(plain), run(scaled)
    assert scaled.parts["network"].scaler.get_scale() > 1
    assert others["grad_norm"] == pytest.approx(facts["grad_norm"], rel=1e-4)
    assert (parameters(scaled) - parameters(plain)).abs().max() < 1e-5


def test_an_overflow_changes_no_parameter_and_lowers_the_scale(step, tmp_path):
    fresh, run = step
    state = fresh(True)
    before, scale = parameters(state), state.parts["network"].scaler.get_scale()
    parameter = next(state.parts["network"].module.parameters())
    hook = parameter.register_hook(lambda gradient: gradient * torch.inf)
    run(state)
    hook.remove()
    assert torch.equal(parameters(state), before)
    assert state.parts["network"].scaler.get_scale() == scale / 2
    save_state(tmp_path, state)
    again = fresh(True)
    assert load_state(tmp_path, again) == ""
    assert again.parts["network"].scaler.get_scale() == scale / 2
    run(state)
    assert not torch.equal(parameters(state), before)


@pytest.mark.usefixtures("memory_cohort")
def test_fp16_is_refused_on_a_cpu(tmp_path, settings):
    with pytest.raises(UsageError, match="fp16 needs a CUDA device"):
        train(
            tmp_path / "run",
            data=tmp_path,
            settings=(*settings, "training.precision=fp16"),
            device="cpu",
        )


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_every_precision_has_its_dtype(precision, dtype):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
