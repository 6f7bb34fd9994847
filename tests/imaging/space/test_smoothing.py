"""Smoothing on all cores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.imaging.space.smoothing import gaussian


@pytest.mark.parametrize("shape", [(23, 31, 27), (1, 2, 40)])
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_it_is_scipys_filter_to_the_bit(shape, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    data = np.random.default_rng(0).random(shape)
    sigma = np.array([1.3, 2.0, 0.0 if threads == "3" else 0.7])
    for mode, truncate in (("reflect", 3.0), ("nearest", 4.0)):
        expected = gaussian_filter(data.astype(np.float32), sigma, mode=mode, truncate=truncate)
        assert gaussian(data, sigma, mode, truncate).tobytes() == expected.tobytes()


def test_a_mask_is_smoothed_as_numbers():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    assert 0 < gaussian(mask, (1, 1, 1))[4, 4, 5] < 1
