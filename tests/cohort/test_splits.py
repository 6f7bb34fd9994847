"""A subject's split depends on the seed and its name."""

from __future__ import annotations

from collections import Counter

import pytest

from mri2pet.cohort.splits import split_subjects
from mri2pet.errors import UsageError

NAMES = [f"sub-{i:04d}" for i in range(1000)]


def test_fractions_are_met_and_the_seed_matters():
    split = split_subjects(NAMES, seed=3)
    counts = Counter(split.values())
    assert abs(counts["train"] - 810) < 40
    assert abs(counts["val"] - 90) < 30
    assert abs(counts["test"] - 100) < 30
    assert split == split_subjects(reversed(NAMES), seed=3)
    assert split != split_subjects(NAMES, seed=4)


def test_a_growing_cohort_moves_nobody():
    small, large = split_subjects(NAMES[:500]), split_subjects(NAMES)
    assert all(large[name] == place for name, place in small.items())


@pytest.mark.parametrize("count", [3, 4, 5, 8])
@pytest.mark.parametrize("seed", range(5))
def test_small_cohorts_leave_no_split_empty(count, seed):
    split = split_subjects(NAMES[:count], seed=seed)
    assert set(split.values()) == {"train", "val", "test"}
    assert len(split) == count


def test_one_subject_trains():
    assert len(split_subjects(["sub-01"])) == 1


def test_everything_may_be_test():
    assert set(split_subjects(NAMES[:9], fractions=(0, 0, 1)).values()) == {"test"}


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(UsageError, match="fractions"):
        split_subjects(NAMES, fractions=fractions)
