"""Numbers of a synthetic PET on the model's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.imaging.suvr.reference import Reference, recorded_reference
from mri2pet.imaging.suvr.regions import GREY_REGIONS, cortical_suvr
from mri2pet.synthesis.pet import doubts
from mri2pet.synthesis.pet import measure as measure_with
from mri2pet.uncertainty.results import ResultUncertainty

SHAPE = (16, 32, 32)


def measure(samples: np.ndarray) -> dict[str, Any]:
    return measure_with(Drawn(samples, samples.mean(0)), ResultUncertainty(None, "not calibrated"))


def test_an_even_pet_has_a_cortical_suvr_of_one() -> None:
    found = measure(np.stack([np.full(SHAPE, 1.0), np.full(SHAPE, 2.0)]).astype(np.float32))
    np.testing.assert_allclose(found["cortical_suvr"]["samples"], [1.0, 1.0], rtol=1e-5)
    assert found["cortical_suvr"]["sd_of_samples"] == pytest.approx(0.0, abs=1e-6)
    assert found["cerebellum_suvr"]["mean"] == pytest.approx(1.5, rel=1e-5)


def test_mean_and_spread_are_over_the_samples() -> None:
    samples = np.random.default_rng(0).uniform(0.8, 1.6, (3, *SHAPE)).astype(np.float32)
    samples[1, SHAPE[0] // 2 :] *= 1.3
    found = measure(samples)["cortical_suvr"]
    assert measure(samples)["uncertainty"] == "not calibrated"
    assert set(measure(samples)["regional_suvr"]) == set(GREY_REGIONS)
    expected = [cortical_suvr(sample) for sample in samples]
    np.testing.assert_allclose(found["samples"], expected)
    assert found["mean"] == pytest.approx(cortical_suvr(samples.mean(0)))
    assert found["sd_of_samples"] == pytest.approx(np.std(expected, ddof=1))
    assert found["sd_of_samples"] > 0.01


def test_one_sample_has_no_spread() -> None:
    assert measure(np.ones((1, *SHAPE), np.float32))["cortical_suvr"]["sd_of_samples"] is None


@pytest.mark.parametrize(("cerebellum", "doubtful"), [(1.0, 0), (0.9, 0), (1.3, 1), (0.6, 1)])
def test_a_cerebellum_far_from_one_is_told(cerebellum: float, doubtful: int) -> None:
    told = doubts({"cerebellum_suvr": {"mean": cerebellum}}, recorded_reference({}))
    assert len(told) == doubtful
    assert all(f"{cerebellum:.2f} SUVR" in text for text in told)


def test_what_a_model_learnt_is_told() -> None:
    """By another region the cerebellum need not be 1; without one the scale comes afterwards."""
    measured = {"cerebellum_suvr": {"mean": 0.5}}
    assert doubts(measured, {"key": "sha256:abc", "name": "pons.nii", "unit": "SUVR"}) == []
    (told,) = doubts(measured, Reference.of("minmax").record())
    assert "learnt PETs without SUVR" in told
