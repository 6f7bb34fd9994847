"""Intervals by resampling subjects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.evaluation.bootstrap import Estimate, estimate, mean, pearson


def test_the_interval_of_a_mean_is_that_of_the_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, 200)
    found = estimate(mean, [str(i) for i in range(200)], values)
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    names = [str(i) for i in range(60)]
    hits = 0
    for n in range(150):
        found = estimate(mean, names, rng.normal(0, 1, 60), resamples=300, seed=n)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 150 <= 0.99


def test_sessions_of_a_subject_stay_together():
    rng = np.random.default_rng(2)
    subjects = [str(i) for i in range(30)]
    values = rng.normal(0, 1, 30)
    once = estimate(mean, subjects, values)
    fourfold = estimate(mean, subjects * 4, np.tile(values, 4))
    assert fourfold.high - fourfold.low == pytest.approx(once.high - once.low, rel=0.1)


def test_correlation_is_pearsons_and_undefined_without_spread():
    rng = np.random.default_rng(3)
    x = rng.normal(size=50)
    y = 0.7 * x + rng.normal(size=50)
    found = estimate(pearson, [str(i) for i in range(50)], x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.low < found.value < found.high
    flat = estimate(pearson, [str(i) for i in range(50)], np.ones(50), y)
    assert math.isnan(flat.value)
    assert flat.text(2) == "–"


def test_a_seed_names_the_interval():
    names, values = [str(i) for i in range(9)], np.arange(9.0)
    assert estimate(mean, names, values) == estimate(mean, names, values)
    assert estimate(mean, names, values) != estimate(mean, names, values, seed=1)


def test_text_rounds():
    assert Estimate(0.12345, 0.1, 0.2).text(3) == "0.123 [0.100, 0.200]"


def test_columns_must_fit():
    with pytest.raises(ValueError, match="one length"):
        estimate(mean, ["a", "b"], [1.0])
