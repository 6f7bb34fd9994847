"""Intervals over people and seeds, differences on the same draws, the paper's ±."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.downstream.statistics import difference, differences, score_setting
from mri2pet.evaluation.hypothesis import welch


def records(shift=0.0, seeds=6, people=30, noise=1.0, seed=0, of_seed=0.0):
    """Results of a number task: predictions whose error grows by `shift`."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(26, 2, people)
    own = rng.normal(size=people)
    return [
        {
            "subjects": [f"p{i}" for i in range(people)],
            "classes": [],
            "truth": truth.tolist(),
            "predicted": (truth + shift + noise * own + of_seed * rng.normal()).tolist(),
        }
        for _ in range(seeds)
    ]


def test_the_mean_over_seeds_with_both_errors_apart():
    alike = score_setting(records(of_seed=0.0))["mse"]
    apart = score_setting(records(of_seed=1.0))["mse"]
    assert alike.se_seeds == pytest.approx(0, abs=1e-12)
    assert apart.se_seeds == pytest.approx(apart.of_seeds.std(ddof=1) / math.sqrt(6))
    error = (np.array(records()[0]["predicted"]) - records()[0]["truth"]) ** 2
    assert alike.estimate.value == pytest.approx(error.mean())
    assert alike.se_people == pytest.approx(error.std() / math.sqrt(30), rel=0.05)
    assert alike.estimate.low < alike.estimate.value < alike.estimate.high
    # The draws of seeds widen an interval that draws of people alone would give.
    assert apart.draws.std() > 1.2 * apart.se_people
    assert apart.as_paper.plus_minus == pytest.approx(apart.of_seeds.std() / math.sqrt(6))


def test_differences_are_taken_on_the_same_draws():
    better, worse = score_setting(records()), score_setting(records(shift=0.5))
    both = {"real-paired": worse, "augmented-paired": better, "covariates": worse}
    titles = {key: key.title() for key in both}
    tests = {
        t.second: t for t in differences(both, ["mse", "pearson"], titles) if t.metric == "mse"
    }
    assert {t.first for t in tests.values()} == {"Real-Paired"}
    test = tests["Augmented-Paired"]
    assert test.estimate.low > 0
    assert not test.first_is_better
    # With people drawn apart for each, the interval would be far wider.
    independent = math.hypot(better["mse"].draws.std(), worse["mse"].draws.std())
    assert (test.estimate.high - test.estimate.low) / 3.92 < 0.7 * independent
    assert test.p < 0.05
    assert math.isnan(tests["Covariates"].p)  # the same: no test
    assert test.p_holm == test.p  # the only test


def test_chance_has_no_star():
    """Under no difference p is uniform enough: of 24 pairs of settings few lie below 0.05."""
    ps = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        one, two = records(seeds=2, seed=seed), records(seeds=2, seed=seed)
        for of in (one, two):
            noise = rng.normal(size=30)
            for record in of:
                record["predicted"] = (np.array(record["truth"]) + noise).tolist()
        ps.append(difference("mse", score_setting(one)["mse"], score_setting(two)["mse"]).p)
    assert sum(p < 0.05 for p in ps) <= 4
    assert 0.3 < np.mean(ps) < 0.7


def test_the_paper_s_stars_fit_a_test_against_real_paired():
    assert welch(4.982, 0.116, 25, 5.601, 0.133, 25).p == pytest.approx(0.0012, abs=3e-4)
    assert welch(0.458, 0.024, 25, 0.294, 0.038, 25).p == pytest.approx(0.0008, abs=3e-4)
