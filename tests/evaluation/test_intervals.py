"""Intervals by resampling people, against scipy, normal theory and simulated cohorts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mri2pet.evaluation.as_paper import growing_list
from mri2pet.evaluation.intervals import (
    MEAN,
    MEAN_ABSOLUTE_DIFFERENCE,
    PEARSON,
    Estimate,
    bca_limits,
    by_person,
    draw_counts,
    estimate,
    jackknife,
    jackknife_se,
)


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_the_interval_of_a_mean_is_that_of_the_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, 200)
    found = estimate(MEAN, names(200), values)
    half = 1.96 * values.std() / math.sqrt(200)
    assert (found.value, found.kind) == (pytest.approx(values.mean()), "BCa")
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_bca_is_scipys_on_skewed_data():
    values = np.random.default_rng(4).lognormal(0, 1, 40)
    ours = estimate(MEAN, names(40), values, resamples=200_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=200_000, rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)
    assert ours.high - ours.value > 1.2 * (ours.value - ours.low), "the skew is seen"


def test_people_are_drawn_and_not_scans():
    """Of 500 cohorts a nominal 90 % interval of people covers; one of scans is too narrow."""
    rng = np.random.default_rng(5)
    covered = {"people": 0, "scans": 0}
    for n in range(500):
        scans = rng.choice([1, 2, 3, 4], size=30, p=[0.4, 0.3, 0.2, 0.1])
        person = np.repeat(np.arange(30), scans)
        values = rng.normal(0, 0.8, 30)[person] + rng.normal(0, 0.4, len(person))
        for unit, subjects in (("people", person.astype(str)), ("scans", names(len(person)))):
            sums = by_person(MEAN.sums(values), list(subjects))
            draws = MEAN.of(draw_counts(len(sums), 400, n) @ sums)
            left_out = MEAN.of(sums.sum(0) - sums)
            low, high = bca_limits(values.mean(), draws, left_out, level=0.9)
            covered[unit] += low <= 0 <= high
    assert 0.84 <= covered["people"] / 500 <= 0.92
    assert covered["scans"] / 500 < 0.8


def test_scans_of_a_person_stay_together():
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, 30)
    once = estimate(MEAN, names(30), values)
    fourfold = estimate(MEAN, names(30) * 4, np.tile(values, 4))
    assert (fourfold.low, fourfold.high) == pytest.approx((once.low, once.high))


def test_correlation_is_pearsons_and_undefined_without_spread():
    rng = np.random.default_rng(3)
    x = rng.normal(size=50)
    y = 0.7 * x + rng.normal(size=50)
    found = estimate(PEARSON, names(50), x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    shifted = estimate(PEARSON, names(50), 1e-3 * x + 1000, y)
    assert shifted.low == pytest.approx(found.low, abs=1e-6)
    assert found.low < found.value < found.high
    flat = estimate(PEARSON, names(50), np.ones(50), y)
    assert math.isnan(flat.value)
    assert flat.text(2) == "–"
    assert math.isnan(estimate(PEARSON, ["a", "b"], [1.0, 2.0], [2.0, 1.0]).value)


def test_a_difference_is_absolute_before_it_is_averaged():
    assert estimate(MEAN_ABSOLUTE_DIFFERENCE, ["a", "b"], [1.0, 3.0], [2.0, 1.0]).value == 1.5


def test_few_people_give_a_percentile_interval_and_one_gives_none():
    few = estimate(MEAN, names(9), np.arange(9.0))
    assert few.kind == "percentile"
    assert few.low < 4 < few.high
    one = estimate(MEAN, ["a", "a"], [1.0, 2.0])
    assert (one.value, one.kind) == (1.5, "")
    assert one.text(1) == "1.5"


def test_a_seed_names_the_interval():
    people, values = names(12), np.arange(12.0) ** 2
    assert estimate(MEAN, people, values) == estimate(MEAN, people, values)
    assert estimate(MEAN, people, values) != estimate(MEAN, people, values, seed=1)


def test_equal_values_have_an_interval_without_width():
    found = estimate(MEAN, names(12), np.full(12, 0.5))
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(6).normal(size=25)
    left_out = (values.sum() - values) / 24
    assert jackknife_se(left_out) == pytest.approx(values.std(ddof=1) / 5)
    found = jackknife(values.mean(), left_out)
    expected = stats.t.interval(0.95, 24, values.mean(), values.std(ddof=1) / 5)
    assert (found.low, found.high) == pytest.approx(expected)
    assert math.isnan(jackknife(1.0, [1.0]).low)


def test_what_the_authors_print_shrinks_with_the_resamples_and_is_no_interval():
    values = np.random.default_rng(7).normal(24.8, 1.46, 250)
    found = growing_list(values)
    assert found.plus_minus == pytest.approx(0.085 * values.std(), rel=0.05)
    with pytest.raises(ValueError, match="no values"):
        growing_list([])


def test_text_rounds():
    assert Estimate(0.12345, 0.1, 0.2).text(3) == "0.123 [0.100, 0.200]"


def test_columns_must_fit():
    with pytest.raises(ValueError, match="one length"):
        estimate(MEAN, ["a", "b"], [1.0])
