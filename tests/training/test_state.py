"""What a state holds after it was saved and loaded, and how its average moves."""

from __future__ import annotations

import pytest
import torch

from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState, load_state, save_state


@pytest.fixture
def fresh(settings):
    model = load_config("compact", settings).model

    def make(**options):
        torch.manual_seed(0)
        network = Network(model).to(memory_format=torch.channels_last_3d)
        return TrainingState({"network": Part(network, 1e-3, 0.9, **options)})

    return make


def stepped(state):
    """After one step of Adam with gradients in the layout of the parameters."""
    for parameter in state.parts["network"].module.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.parts["network"].optimizer.step()
    return state


def test_a_resumed_optimiser_has_the_layout_of_the_parameters(fresh, tmp_path):
    """A moment of other strides puts torch's foreach Adam into its form for single tensors."""
    before, after = stepped(fresh()), fresh()
    save_state(tmp_path, before)
    assert load_state(tmp_path, after) == ""
    pairs = zip(
        before.parts["network"].module.parameters(),
        after.parts["network"].module.parameters(),
        strict=True,
    )
    assert any(not p.is_contiguous() for p in after.parts["network"].module.parameters())
    for old, new in pairs:
        ours, theirs = (
            before.parts["network"].optimizer.state[old],
            after.parts["network"].optimizer.state[new],
        )
        for name in ("exp_avg", "exp_avg_sq"):
            assert theirs[name].stride() == new.stride() == ours[name].stride()
            assert torch.equal(theirs[name], ours[name])
        assert torch.equal(theirs["step"], ours["step"])


def test_the_average_moves_as_one_tensor_at_a_time(fresh):
    state = stepped(fresh())
    expected = {
        name: state.parts["network"].average[name].clone().lerp_(value, 1 - 31 / 40)
        for name, value in state.parts["network"].module.state_dict().items()
    }
    state.parts["network"].update_average(30)
    assert all(
        torch.equal(state.parts["network"].average[name], value) for name, value in expected.items()
    )


@pytest.mark.parametrize("fused", [None, True])
def test_a_step_after_resuming_is_the_step_without(fresh, tmp_path, fused):
    """Also where Adam counts its steps on the device; the bits are those of the same form."""
    before, after = fresh(), fresh()
    for state in (before, after):
        state.parts["network"].optimizer = torch.optim.Adam(
            state.parts["network"].module.parameters(), lr=1e-3, fused=fused
        )
    save_state(tmp_path, stepped(before))
    load_state(tmp_path, after)
    stepped(before)
    stepped(after)
    for old, new in zip(
        before.parts["network"].module.parameters(),
        after.parts["network"].module.parameters(),
        strict=True,
    ):
        assert torch.equal(old, new)


def test_adam_is_fused_on_a_gpu_alone(fresh):
    assert not fresh().parts["network"].optimizer.defaults["fused"]


def test_a_checkpoint_of_a_run_with_one_normal_distribution_goes_on(fresh):
    """Buffers of the linear denoiser had other names and fewer coefficients."""
    before, after = stepped(fresh()), fresh()
    wanted, found = before.parts["network"], after.parts["network"]
    wanted.module.linear.fit(*torch.randn(2, 20, 16384, generator=torch.Generator().manual_seed(0)))
    wanted.average = {k: v + 1 for k, v in wanted.module.state_dict().items()}
    old = {}
    for name, value in before.tensors().items():
        kind, linear, buffer = name.partition("linear.")
        if buffer == "table":  # of its one direction the first normal's gain
            value = value[:, :3].contiguous()
        if buffer != "mixture":
            renamed = {"regression": "readers", "offsets": "told"}.get(buffer, buffer)
            old[kind + linear + renamed] = value
    after.load(old, before.progress())
    assert found.module.linear.mixture[0, 0, -1] > 1
    for name, value in wanted.module.state_dict().items():
        if name not in ("linear.table", "linear.mixture"):
            assert torch.equal(found.module.state_dict()[name], value), name
            assert torch.equal(found.average[name], value + 1), name
