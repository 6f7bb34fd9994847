"""What a network takes over of the level in a noisy PET, of readers that are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mri2pet.diffusion.schedule import alpha_bar


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("measure_levels")


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0])
def test_a_reader_s_gain_is_found(tool, gain):
    rng = np.random.default_rng(0)
    expected = rng.normal(1.2, 0.1, 400)
    truth = expected + rng.normal(0, 0.2, 400)
    weights = torch.full((4, 4, 4), 1 / 64)
    a = alpha_bar()[list(tool.STEPS)].double().numpy()
    noise = 0.5 * np.sqrt((1 - a) / a) / 8
    seen = truth[None, :, None] + noise[:, None, None] * rng.normal(size=(len(a), 400, 2))
    read = expected[None, :, None] + gain * (seen - expected[None, :, None])
    read[-1] = expected[:, None]  # at the last step the MRI alone tells
    found = tool.summary(SimpleNamespace(pet_std=0.5), truth, seen, read, weights)
    assert found["error_by_mri_alone"] == pytest.approx(0.2, rel=0.1)
    first = found["steps"][0]
    assert first["gain"] == pytest.approx(gain, abs=1e-9)
    assert first["noise"] == pytest.approx(noise[0])
    best = found["error_by_mri_alone"] ** 2
    best /= best + noise[0] ** 2
    assert first["best_gain"] == pytest.approx(best)
    assert first["best_error"] <= first["error"] * 1.1
