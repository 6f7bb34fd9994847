"""What a state holds after it was saved and loaded, and how its average moves."""

from __future__ import annotations

import pytest
import torch

from mri2pet.config import load_config
from mri2pet.nn import Network
from mri2pet.training.state import TrainingState, load_state, save_state


@pytest.fixture
def fresh(settings):
    model = load_config("compact", settings).model

    def make(**options):
        torch.manual_seed(0)
        network = Network(model).to(memory_format=torch.channels_last_3d)
        return TrainingState(network, 1e-3, 0.9, **options)

    return make


def stepped(state):
    """After one step of Adam with gradients in the layout of the parameters."""
    for parameter in state.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    return state


def test_a_resumed_optimiser_has_the_layout_of_the_parameters(fresh, tmp_path):
    """A moment of other strides puts torch's foreach Adam into its form for single tensors."""
    before, after = stepped(fresh()), fresh()
    save_state(tmp_path, before)
    assert load_state(tmp_path, after) == ""
    pairs = zip(before.network.parameters(), after.network.parameters(), strict=True)
    assert any(not p.is_contiguous() for p in after.network.parameters())
    for old, new in pairs:
        ours, theirs = before.optimizer.state[old], after.optimizer.state[new]
        for name in ("exp_avg", "exp_avg_sq"):
            assert theirs[name].stride() == new.stride() == ours[name].stride()
            assert torch.equal(theirs[name], ours[name])
        assert torch.equal(theirs["step"], ours["step"])
