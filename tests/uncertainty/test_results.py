"""What a result may say: an interval only with a calibration for its settings."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mri2pet.checkpoint import load_model
from mri2pet.uncertainty.calibrate import fit
from mri2pet.uncertainty.calibration import CALIBRATION, write_calibration
from mri2pet.uncertainty.people import read_people
from mri2pet.uncertainty.results import ResultUncertainty

SAMPLES = [1.1, 1.2, 1.3, 1.4]
SETTINGS = {"sampler": "dpmpp", "steps": 25, "samples": 4}


@pytest.fixture
def model(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def uncertainty(model, provenance=None, **changed):
    sha256 = json.loads((model / "model.json").read_text())["sha256"]
    return ResultUncertainty.of(model, sha256, provenance or {}, **SETTINGS | changed)


def calibrate(model, out):
    write_calibration(model / CALIBRATION, fit(read_people(out), "lab", {}))


def test_a_calibration_for_the_settings_gives_intervals(model, evaluated):
    calibrate(model, evaluated(24))
    found = uncertainty(model)
    assert found.note == "90 % interval, calibrated on 24 simulated people of lab"
    region = found.of_region("frontal", SAMPLES, 1.27)
    assert region["mean"] == 1.27, "of the mean PET, not of the samples"
    assert region["sd_of_samples"] == pytest.approx(np.std(SAMPLES, ddof=1))
    interval = region["interval"]
    assert (interval["low"] + interval["high"]) / 2 == pytest.approx(1.27)
    assert interval["label"] == found.note
    assert len(found.sha256) == 64


def test_other_settings_give_the_raw_spread_and_say_why(model, evaluated):
    calibrate(model, evaluated(24))
    found = uncertainty(model, steps=10)
    assert found.note.startswith("not calibrated for these settings: steps 10 instead of 25;")
    assert found.of_region("cortex", SAMPLES, 1.25)["interval"] is None
    assert found.of_region("cortex", SAMPLES, 1.25)["sd_of_samples"] > 0
    assert found.sha256 is None


def test_without_a_calibration_the_spread_is_no_error_bar(model):
    found = uncertainty(model)
    assert "the model has no calibration" in found.note
    assert found.note.endswith("is not an error bar")
    assert found.of_region("cortex", SAMPLES[:1], 1.1)["sd_of_samples"] is None


def test_a_loaded_model_has_no_folder_to_look_in(model_folder):
    model = load_model(model_folder)
    found = ResultUncertainty.of(model, model.sha256, {}, **SETTINGS)
    assert found.calibration is None


def test_too_few_people_are_told_in_place_of_the_interval(model, evaluated):
    calibrate(model, evaluated(8))
    found = uncertainty(model)
    assert found.note == "no 90 % interval: it needs at least 9 people, and there are 8"
    assert found.of_region("cortex", SAMPLES, 1.25)["interval"] is None


def test_a_model_of_simulated_people_says_so(model, evaluated):
    calibrate(model, evaluated(24))
    found = uncertainty(model, {"simulated": True})
    told = "; the model was trained on simulated people"
    assert found.note.endswith(told)
    assert found.of_region("cortex", SAMPLES, 1.25)["interval"]["label"].endswith(told)


def test_a_new_calibration_is_another(model, evaluated):
    calibrate(model, evaluated(24, name="first"))
    first = uncertainty(model).sha256
    calibrate(model, evaluated(24, name="again"))
    assert uncertainty(model).sha256 == first
    calibrate(model, evaluated(24, name="other", seed=1))
    assert uncertainty(model).sha256 != first
