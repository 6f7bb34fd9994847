"""Conformal intervals: places, exactness by simulation, the choice of the score, probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.quantification.status import share_above
from mri2pet.uncertainty.conformal import (
    HALF_WIDTH,
    bound,
    choose_score,
    interval_score,
    joint_scores,
    left_out_half_widths,
    people_needed,
    place,
    scaled_scores,
)


@pytest.mark.parametrize("kind", ["plain", "scaled"])
def test_the_reference_file(kind, reference, people):
    samples, measured = people
    mean, spread = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    found = reference["uncertainty"][
        {"plain": "conformal_absolute", "scaled": "conformal_scaled"}[kind]
    ]
    first = found["calibration"]
    assert place(first, 0.9) == found["place"]
    if kind == "plain":
        q = bound(np.abs(measured - mean)[:first], 0.9)
        half = np.full(len(mean) - first, q)
    else:
        q = bound(scaled_scores(mean, spread, measured, 0.02)[:first], 0.9)
        half = q * np.maximum(spread, 0.02)[first:]
    assert q == pytest.approx(found["q"], rel=1e-6)
    inside = np.abs(measured - mean)[first:] <= half
    assert inside.mean() == found["coverage_rest"]
    assert 2 * half.mean() == pytest.approx(found["mean_width_rest"], rel=1e-6)


def test_the_place_is_exact_where_floating_point_would_slip():
    assert [place(n, 0.9) for n in (8, 9, 19, 20, 99)] == [9, 9, 18, 19, 90]
    assert [place(n, 0.95) for n in (18, 19, 39)] == [19, 19, 38]
    assert [place(n, 0.8) for n in (4, 9, 14, 24)] == [4, 8, 12, 20]


def test_too_few_people_give_an_infinite_bound():
    assert [people_needed(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    for level in (0.8, 0.9, 0.95):
        enough = np.arange(people_needed(level), dtype=float)
        assert bound(enough, level) == enough.max()
        assert bound(enough[1:], level) == math.inf


@pytest.mark.parametrize(("kind", "people"), [("plain", 20), ("scaled", 20), ("plain", 33)])
def test_coverage_over_exchangeable_people_is_what_theory_says(kind, people):
    """⌈(n + 1)(1 − α)⌉/(n + 1), over 400 repetitions with 200 new people each."""
    draw, hits = np.random.default_rng(3), []
    for _ in range(400):
        spread = np.exp(draw.normal(0, 0.3, people + 200))
        error = draw.standard_t(3, people + 200) * spread
        known = (np.zeros(people), spread[:people], error[:people])
        floor = 0.0 if kind == "scaled" else None
        if floor is None:
            half = np.full(200, HALF_WIDTH[kind](*known, 0.9, 1.0))
        else:
            half = bound(scaled_scores(*known, floor), 0.9) * spread[people:]
        hits.append((np.abs(error[people:]) <= half).mean())
    assert np.mean(hits) == pytest.approx(place(people, 0.9) / (people + 1), abs=0.01)


def test_a_joint_bound_covers_all_regions_at_once():
    draw, hits = np.random.default_rng(4), []
    for _ in range(300):
        common = draw.normal(size=(220, 1))
        error = (common + draw.normal(size=(220, 5))) * [0.1, 0.2, 0.3, 0.4, 1.0]
        spread = np.full((220, 5), [0.1, 0.2, 0.3, 0.4, 1.0])
        zero = np.zeros((20, 5))
        q = bound(joint_scores(zero, spread[:20], error[:20]), 0.9)
        hits.append((np.abs(error[20:]) <= q * spread[20:]).all(axis=1).mean())
    assert np.mean(hits) == pytest.approx(19 / 21, abs=0.015)


def test_a_tiny_spread_gives_no_tiny_interval():
    spread = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1e-9, 0.1])
    mean, measured = np.zeros(10), np.linspace(-0.2, 0.2, 10)
    half = left_out_half_widths("scaled", mean, spread, measured, 0.9)
    assert half[8] == pytest.approx(half[7], rel=0.3)


def test_no_error_and_no_spread_score_nothing():
    zero, one = np.zeros(1), np.ones(1)
    assert scaled_scores(zero, zero, zero, 0.0) == [0]
    assert scaled_scores(zero, zero, one, 0.0) == [math.inf]


def test_the_score_by_the_spread_is_taken_only_where_the_spread_tells_the_error():
    draw = np.random.default_rng(5)
    spread = np.exp(draw.normal(0, 0.8, 60))
    informed = draw.normal(size=60) * spread
    uninformed = draw.permutation(informed)
    assert choose_score(np.zeros(60), spread, informed) == "scaled"
    assert choose_score(np.zeros(60), spread, uninformed) == "plain"
    assert choose_score(np.zeros(5), spread[:5], informed[:5]) == "plain"


def test_each_person_is_left_out_of_its_own_interval():
    mean, spread = np.zeros(10), np.ones(10)
    measured = np.array([*np.linspace(0.1, 0.9, 9), 50.0])
    half = left_out_half_widths("plain", mean, spread, measured, 0.9)
    assert half[-1] == pytest.approx(0.9)
    assert half[0] == 50.0


def test_the_interval_score_punishes_what_lies_outside():
    score = interval_score(np.zeros(3), np.ones(3), np.array([0.5, 1.1, -0.2]), 0.9)
    np.testing.assert_allclose(score, [1.0, 1 + 20 * 0.1, 1 + 20 * 0.2])


def test_probabilities_never_say_never():
    residuals = np.linspace(-0.2, 0.2, 9)
    assert share_above(1.0, residuals, 2.0) == pytest.approx(0.1)
    assert share_above(1.0, residuals, 0.5) == pytest.approx(0.9)
    assert share_above(1.0, residuals, 1.01) == pytest.approx(4 / 9)
