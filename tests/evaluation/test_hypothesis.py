"""Tests and stars against scipy and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mri2pet.evaluation.hypothesis import holm, paired, stars, welch


def test_the_paired_test_is_scipys():
    x, y = np.random.default_rng(0).normal(size=(2, 17))
    found, theirs = paired(x, y), stats.ttest_rel(x, y)
    assert (found.t, found.p, found.df) == pytest.approx((theirs.statistic, theirs.pvalue, 16))


def test_without_spread_or_people_there_is_no_test():
    assert math.isnan(paired([1.0, 2.0], [0.0, 1.0]).p)
    assert math.isnan(paired([1.0], [0.0]).p)
    assert math.isnan(paired([0.3, 0.6], [0.1, 0.4]).p), "the last digits alone differ"
    with pytest.raises(ValueError, match="paired"):
        paired([1.0], [1.0, 2.0])
    assert math.isnan(welch(1, 0, 5, 2, 0, 5).p)


def test_welch_from_what_is_printed_is_scipys():
    x, y = np.random.default_rng(1).normal(size=25), np.random.default_rng(2).normal(0.4, 2, 40)
    printed = [v for a in (x, y) for v in (a.mean(), a.std() / len(a) ** 0.5, len(a))]
    found, theirs = welch(*printed), stats.ttest_ind(x, y, equal_var=False)
    assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_the_paper_s_table_2_has_its_stars_against_real_paired():
    assert stars(welch(4.982, 0.116, 25, 5.601, 0.133, 25).p) == "**"
    assert stars(welch(0.458, 0.024, 25, 0.294, 0.038, 25).p) == "***"


def test_holm_passes_over_what_is_not_defined():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p = [0.0004, 0.03, 0.012, 0.2, 0.049]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_nan = holm([p[0], math.nan, *p[1:]])
    assert math.isnan(with_nan[1])
    assert with_nan[0] == pytest.approx(holm(p)[0])


@pytest.mark.parametrize(
    ("p", "text"), [(0.05, ""), (0.049, "*"), (0.0099, "**"), (0.0009, "***"), (math.nan, "")]
)
def test_stars(p, text):
    assert stars(p) == text
