"""The trivial predictors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.evaluation.rivals import Rivals, fit_rivals, kept_warped_mean

from .conftest import level_of


def test_the_mean_is_that_of_the_training_set(cohort_cache):
    rivals = fit_rivals(cohort_cache)
    rows = cohort_cache.rows("train")
    assert 0 < len(rows) < len(cohort_cache.rows())
    expected = np.mean([np.asarray(cohort_cache.pet(r), dtype=np.float64) for r in rows], axis=0)
    np.testing.assert_allclose(rivals.cohort_mean(), expected, atol=1e-5)


def test_the_linear_map_finds_the_law_of_the_cohort(cohort_cache):
    rivals = fit_rivals(cohort_cache)
    levels = [level_of(row.subject) for row in cohort_cache.rows("train")]
    assert rivals.slope == pytest.approx(np.mean(levels), rel=0.02)
    assert rivals.intercept == pytest.approx(0.4, abs=0.02)
    row = cohort_cache.rows("train")[0]
    predicted = rivals.linear_map(np.asarray(cohort_cache.mri(row), dtype=np.float32))
    inside = np.asarray(cohort_cache.brain(row)) > 0.99
    expected = level_of(row.subject) / np.mean(levels)
    ratio = (cohort_cache.pet(row)[inside] - 0.4) / (predicted[inside] - 0.4)
    assert np.median(ratio) == pytest.approx(expected, rel=0.03)


def test_warping_brings_the_mean_to_the_subject(cohort_cache):
    rivals = fit_rivals(cohort_cache)
    row = next(r for r in cohort_cache.rows() if int(r.subject[-2:]) % 2)
    mri = np.asarray(cohort_cache.mri(row), dtype=np.float32)
    inside = np.asarray(cohort_cache.brain(row)) > 0.5
    measured = np.asarray(cohort_cache.pet(row), dtype=np.float32)[inside]
    warped = rivals.warped_cohort_mean(mri)
    assert warped.shape == cohort_cache.pet_shape
    unexplained = [
        1 - np.corrcoef(pet[inside], measured)[0, 1] ** 2 for pet in (rivals.cohort_mean(), warped)
    ]
    assert unexplained[1] < 0.8 * unexplained[0]
    assert rivals.warped_cohort_mean(mri).tobytes() == warped.tobytes(), "seeded"


def test_the_warped_mean_is_made_once_for_a_scan_and_its_rivals(
    cohort_cache, tmp_path, monkeypatch
):
    made = []

    def warp(self, mri):
        made.append(len(made))
        return self.mean_pet + len(made)

    monkeypatch.setattr(Rivals, "warped_cohort_mean", warp)
    rivals = fit_rivals(cohort_cache)
    mri = np.asarray(cohort_cache.mri(cohort_cache.rows()[0]), dtype=np.float32)
    first = kept_warped_mean(rivals, mri, tmp_path)
    assert (kept_warped_mean(rivals, mri, tmp_path) == first).all()
    assert len(made) == 1
    kept_warped_mean(rivals, mri + 0.1, tmp_path)
    kept_warped_mean(replace(rivals, mean_pet=rivals.mean_pet * 2), mri, tmp_path)
    assert len(made) == 3


def test_no_training_rows_is_an_error(cohort_cache, monkeypatch):
    monkeypatch.setattr(type(cohort_cache), "rows", lambda self, split=None, paired=True: [])
    with pytest.raises(InputError, match="no training subject"):
        fit_rivals(cohort_cache)
