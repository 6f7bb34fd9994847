"""A checkpoint with one changed byte is never trained on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mri2pet.errors import Mri2petError
from mri2pet.training.part import Part
from mri2pet.training.state import LAST, PREVIOUS, TrainingState, load_state, save_state


def trained(seed):
    torch.manual_seed(seed)
    part = Part(nn.Linear(3, 2), 1e-3, 0.9)
    part.forward(torch.randn(4, 3)).sum().backward()
    part.optimizer.step()
    state = TrainingState({"network": part})
    state.volumes, state.updates = 1234, 56
    return state


def same(a, b):
    ours, theirs = a.tensors(), b.tensors()
    progress = (a.volumes, a.updates) == (b.volumes, b.updates)
    return (
        progress
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[k], theirs[k]) for k in ours)
    )


@pytest.mark.parametrize("bit", [0, 2, 5])
def test_every_changed_byte_is_refused_or_changes_nothing(tmp_path, bit):
    state, fresh = trained(0), trained(1)
    save_state(tmp_path, state)
    content = (tmp_path / LAST).read_bytes()
    refused = 0
    for i in range(len(content)):
        changed = bytearray(content)
        changed[i] ^= 1 << bit
        (tmp_path / LAST).write_bytes(changed)
        before = fresh.tensors()
        try:
            load_state(tmp_path, fresh)
        except Mri2petError:
            refused += 1
            assert all(torch.equal(before[k], v) for k, v in fresh.tensors().items())
        else:
            assert same(fresh, state)
    assert refused > 0.9 * len(content)


def test_a_damaged_last_one_is_passed_over_with_a_line(tmp_path):
    older, newer = trained(0), trained(1)
    save_state(tmp_path, older)
    save_state(tmp_path, newer)
    content = bytearray((tmp_path / LAST).read_bytes())
    content[-1] ^= 1  # in a weight
    (tmp_path / LAST).write_bytes(content)
    fresh = trained(2)
    said = load_state(tmp_path, fresh)
    assert "is damaged or missing; going on from" in said
    assert PREVIOUS in said
    assert same(fresh, older)
