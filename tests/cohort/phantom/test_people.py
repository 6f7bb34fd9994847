"""Who is in the cohort: correlations, progress and dates."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.cohort.phantom.people import draw_person


@pytest.fixture(scope="module")
def crowd():
    return [draw_person(3, number, paired=True) for number in range(1, 801)]


def test_atrophy_and_amyloid_correlate_as_in_life(crowd):
    first = [person.visits[0] for person in crowd]
    severity = [v.severity for v in first]
    amyloid = [v.amyloid for v in first]
    assert 0.54 < np.corrcoef(severity, amyloid)[0, 1] < 0.70


def test_mmse_falls_with_both(crowd):
    first = [person.visits[0] for person in crowd]
    mmse = [v.mmse for v in first]
    assert np.corrcoef([v.severity for v in first], mmse)[0, 1] < -0.6
    assert np.corrcoef([v.amyloid for v in first], mmse)[0, 1] < -0.4
    assert all(0 <= score <= 30 for score in mmse)


def test_diagnoses_differ_in_amyloid_positivity(crowd):
    positive = {
        name: np.mean([p.visits[0].amyloid > 0.1 for p in crowd if p.visits[0].diagnosis == name])
        for name in ("CN", "MCI", "AD")
    }
    assert positive["CN"] < 0.4 < positive["MCI"] < 0.72 < positive["AD"]


def test_visits_progress(crowd):
    assert {len(person.visits) for person in crowd} == {1, 2, 3, 4}
    for person in crowd:
        for earlier, later in zip(person.visits, person.visits[1:], strict=False):
            assert later.age > earlier.age
            assert later.severity >= earlier.severity
            assert later.amyloid >= earlier.amyloid


def test_a_pair_is_within_a_year_and_other_scans_are_not(crowd):
    lonely = 0
    for person in crowd:
        assert person.visits[0].mri_day is not None
        assert person.visits[0].pet_day is not None
        for visit in person.visits:
            if visit.pet_day is None:
                continue
            near = [
                other.session
                for other in person.visits
                if other.mri_day is not None and abs(other.mri_day - visit.pet_day) <= 365
            ]
            assert near == ([visit.session] if visit.mri_day is not None else [])
            lonely += not near
    assert lonely > 0


def test_unpaired_people_have_no_pet():
    for number in range(1, 30):
        visits = draw_person(3, number, paired=False).visits
        assert all(v.pet_day is None and v.mri_day is not None for v in visits)


def test_a_person_depends_on_seed_and_number_alone():
    assert draw_person(3, 5, paired=True) == draw_person(3, 5, paired=True)
    assert draw_person(3, 5, paired=True) != draw_person(4, 5, paired=True)
    assert draw_person(3, 5, paired=True).visits != draw_person(3, 6, paired=True).visits
