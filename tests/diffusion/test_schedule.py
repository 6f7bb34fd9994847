"""The table of the schedule is copied to a device once, and never as a stand-in."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mri2pet.diffusion import schedule


def test_the_table_goes_to_a_device_once(monkeypatch):
    """`meta` stands for a GPU; what a memory plan makes there must not be kept."""
    monkeypatch.setattr(schedule, "_ON_DEVICE", {})
    table, asked = schedule.alpha_bar(), []
    monkeypatch.setattr(schedule, "alpha_bar", lambda: asked.append(1) or table)
    with FakeTensorMode(allow_non_fake_inputs=True):
        t = torch.ones(2, dtype=torch.int64, device="meta")
        assert schedule.alpha_bar_at(t).shape == (2,)
    assert not schedule._ON_DEVICE
    with torch.inference_mode():
        schedule.alpha_bar_at(torch.ones(2, dtype=torch.int64, device="meta"))
    schedule.alpha_bar_at(torch.ones(3, dtype=torch.int64, device="meta"))
    assert len(asked) == 2
    (kept,) = schedule._ON_DEVICE.values()
    assert not kept.is_inference()


def test_values_are_those_of_the_table():
    t = torch.tensor([3, 999])
    assert torch.equal(schedule.alpha_bar_at(t), schedule.alpha_bar()[t])
