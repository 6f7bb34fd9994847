"""The memory plan of a baseline counts its parts, its source, and what its phases need."""

from __future__ import annotations

import pytest

from mri2pet import memory
from mri2pet.baselines import FILES, find_baseline


@pytest.mark.parametrize("name", FILES)
def test_every_baseline_has_a_plan(small, monkeypatch, name):
    monkeypatch.setattr(memory, "BATCHES", (1, 2, 4, 8))
    source = find_baseline(name).source
    start = () if source is None else ("training.init=anything",)
    config = small(f"training.baseline={name}", *start)
    plan = memory.training_plan(config)
    parts = find_baseline(name).parts(config).values()
    values = 4 * sum(v.numel() for part in parts for v in part.state_dict().values())
    # The modules and their averages; the frozen copies of a source beside.
    assert plan.fixed == pytest.approx((2 if source is None else 3) * values, rel=0.01)
    least = find_baseline(name).least
    assert list(plan.peaks) == [n for n in (1, 2, 4, 8) if n >= least]
    # Gradients and Adam's two moments of every part beside the volumes.
    learning = 4 * sum(p.numel() for part in parts for p in part.parameters())
    assert plan.peaks[4] > plan.fixed + 3 * learning
    assert plan.peaks[8] > plan.peaks[4]
