"""Thresholds have names, probabilities say what they are worth."""

from __future__ import annotations

import pytest

from mri2pet.errors import UsageError
from mri2pet.quantification.status import Threshold, probability_above

LIMIT = Threshold("our lab", 1.2)


def test_a_threshold_is_a_name_and_an_suvr():
    assert Threshold.parse("royse2021 1.11 / 20 CL=1.11") == Threshold(
        "royse2021 1.11 / 20 CL", 1.11
    )
    assert Threshold.parse("a=b=1.3") == Threshold("a=b", 1.3)


@pytest.mark.parametrize("text", ["1.11", "=1.11", " =1.11"])
def test_a_threshold_without_a_name_is_refused(text):
    with pytest.raises(UsageError, match="has no name; write NAME=SUVR"):
        Threshold.parse(text)


@pytest.mark.parametrize("text", ["lab=", "lab=high", "lab=-1", "lab=nan", "lab=inf", "lab=0"])
def test_a_threshold_without_an_suvr_is_refused(text):
    with pytest.raises(UsageError, match="no SUVR above 0"):
        Threshold.parse(text)


def test_a_share_of_samples_is_uncalibrated():
    found = probability_above([1.1, 1.19, 1.21, 1.3], 1.3, LIMIT)
    assert (found.value, found.calibrated) == (0.5, False)
    assert "share of 4 samples" in found.note
    assert "uncalibrated" in LIMIT.heading(found.calibrated)
    assert "uncalibrated" not in LIMIT.heading(calibrated=True)


def test_residuals_shift_the_mean_and_never_make_sure():
    samples = [1.0, 1.1]  # the mean PET need not have their mean
    found = probability_above(samples, 1.2, LIMIT, [-0.1, -0.05, 0.01, 0.1])
    assert (found.value, found.calibrated) == (0.5, True)
    assert probability_above(samples, 1.2, LIMIT, [0.1] * 9).value == pytest.approx(0.9)
    assert probability_above(samples, 1.2, LIMIT, [-0.1] * 9).value == pytest.approx(0.1)
    assert probability_above([1.0], 1.0, LIMIT, [0.3, 0.1, 0.25]).value == pytest.approx(2 / 3)


def test_nothing_tells_no_probability():
    assert probability_above([1.3], 1.3, LIMIT).value is None
    for samples, residuals in (([], None), ([1.0], [])):
        with pytest.raises(ValueError, match="at least one"):
            probability_above(samples, 1.0, LIMIT, residuals)


def test_the_words():
    assert "positive" not in LIMIT.question + LIMIT.record()["note"]
    assert LIMIT.question == (
        "probability that a measured PET, quantified this way, would exceed our lab (1.2 SUVR)"
    )
