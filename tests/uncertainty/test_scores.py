"""Scores of samples: by hand, by their definitions, and against the reference file."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.uncertainty.scores import (
    clopper_pearson,
    coverage,
    crps,
    flatness_p,
    rank_counts,
    raw_interval,
    spread_skill,
    status_scores,
)


def test_the_reference_file(reference, people):
    samples, measured = people
    found, mean = reference["uncertainty"], samples.mean(axis=1)
    assert crps(samples, measured).mean() == pytest.approx(found["crps_mean"], rel=1e-6)
    assert crps(samples, measured, fair=True).mean() == pytest.approx(found["crps_fair_mean"])
    assert np.abs(mean - measured).mean() == pytest.approx(found["mae_of_mean"], rel=1e-6)
    assert rank_counts(samples, measured).tolist() == found["rank_counts"]
    assert spread_skill(samples, measured) == pytest.approx(found["spread_skill"], rel=1e-6)
    raw = coverage(0.9, *raw_interval(mean, samples.std(axis=1, ddof=1), 0.9), measured)
    assert raw.share == found["coverage_normal_90_raw"]


def test_the_reference_status(reference, people):
    from scipy.stats import norm

    samples, measured = people
    found = reference["uncertainty"]
    share = (samples > 1.25).mean(axis=1)
    assert share[:6].tolist() == found["p_above_1_25_share"]
    normal = norm.sf((1.25 - samples.mean(axis=1)) / 0.12)
    np.testing.assert_allclose(normal[:6], found["p_above_1_25_normal_sigma_0_12"], rtol=1e-6)
    scores = status_scores(normal, measured > 1.25)
    assert scores["above"] == found["status"]["positive"]
    assert scores["auroc"] == pytest.approx(found["status"]["auroc"])
    assert scores["brier"] == pytest.approx(found["status"]["brier"])


def test_crps_is_the_integral_of_its_definition():
    """∫ (F(z) − 1(z ≥ y))² dz for samples 0, 1, 3 and y = 2: 1/9 + 4/9 + 1/9."""
    assert crps(np.array([[0.0, 1.0, 3.0]]), np.array([2.0])) == pytest.approx([6 / 9])


def test_crps_of_one_sample_is_its_distance():
    assert crps(np.array([[1.5]]), np.array([1.2])) == pytest.approx([0.3])


def test_fair_crps_does_not_depend_on_the_number_of_samples():
    draw = np.random.default_rng(0)
    y = draw.normal(size=20000)
    few, many = (crps(draw.normal(size=(20000, k)), y, fair=True).mean() for k in (2, 16))
    assert few == pytest.approx(many, abs=0.02)
    assert crps(draw.normal(size=(20000, 2)), y).mean() > many + 0.2


def test_ranks_of_calibrated_draws_are_flat_and_of_narrow_ones_a_u():
    draw = np.random.default_rng(7)
    both = draw.normal(size=(4000, 9))
    flat = rank_counts(both[:, 1:], both[:, 0])
    assert flat.sum() == 4000
    assert flatness_p(flat) > 0.01
    narrow = rank_counts(both[:, 1:] / 5, both[:, 0])
    assert narrow[0] + narrow[-1] > 0.7 * 4000
    assert flatness_p(narrow) < 1e-6


def test_ties_get_every_rank_they_could_have_by_the_seed():
    samples, y = np.ones((3000, 4)), np.ones(3000)
    counts = rank_counts(samples, y)
    assert counts.min() > 500
    np.testing.assert_array_equal(counts, rank_counts(samples, y))
    assert not np.array_equal(counts, rank_counts(samples, y, seed=1))


def test_spread_skill_of_calibrated_draws_is_one():
    both = np.random.default_rng(2).normal(size=(40000, 5))
    assert spread_skill(both[:, 1:], both[:, 0]) == pytest.approx(1, abs=0.02)
    assert spread_skill(both[:, 1:] / 2, both[:, 0]) == pytest.approx(0.54, abs=0.03)


def test_the_exact_interval_of_a_share():
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert clopper_pearson(15, 16) == pytest.approx((0.6977, 0.9984), abs=1e-4)


def test_status_of_one_side_alone_has_no_auroc_and_ties_count_half():
    assert math.isnan(status_scores(np.array([0.2, 0.9]), np.array([True, True]))["auroc"])
    tied = status_scores(np.array([0.5, 0.5]), np.array([True, False]))
    assert (tied["auroc"], tied["brier"]) == (0.5, 0.25)
    assert [b["people"] for b in tied["reliability"]] == [0, 0, 2, 0, 0]
    sure = status_scores(np.array([1.0]), np.array([True]))
    assert sure["reliability"][-1] == {"people": 1, "mean_p": 1.0, "share_above": 1.0}
