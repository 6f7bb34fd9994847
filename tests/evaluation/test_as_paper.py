"""Figures as in the paper, of volumes that are hardly volumes."""

from __future__ import annotations

import math

import numpy as np

from mri2pet.evaluation.as_paper import image_figures, min_max


def test_a_volume_with_nan_has_no_figures_and_a_constant_one_is_zero():
    measured = np.random.default_rng(0).uniform(0, 2, (8, 9, 10))
    broken = measured.copy()
    broken[2, 3, 4] = math.nan
    assert all(math.isnan(value) for value in image_figures(broken, measured).values())
    assert min_max(np.full((8, 9, 10), 1.3)).max() == 0
    assert min_max(measured).max() == 1
