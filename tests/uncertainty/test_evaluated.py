"""What an evaluation's folder gets, and which calibration counts for it."""

from __future__ import annotations

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from mri2pet.errors import ModelError
from mri2pet.quantification import Quantification
from mri2pet.quantification.status import Threshold, share_above
from mri2pet.tables import read_table
from mri2pet.uncertainty import evaluated as module
from mri2pet.uncertainty.calibrate import fit
from mri2pet.uncertainty.calibration import CALIBRATION, write_calibration
from mri2pet.uncertainty.compare import spread_table
from mri2pet.uncertainty.evaluated import write_uncertainty
from mri2pet.uncertainty.people import read_people
from mri2pet.uncertainty.scores import crps
from mri2pet.uncertainty.summary import Climatology, climatology_of, status_of, summarise
from mri2pet.uncertainty.tables import markdown

FILES = ("uncertainty.md", "uncertainty.tsv", "uncertainty.png")


@pytest.fixture(autouse=True)
def training(monkeypatch):
    """A training cohort of 50 people, without its files."""
    values = np.random.default_rng(9).normal(1.3, 0.25, 50)
    suvr = dict.fromkeys(("cortex", "frontal", "thalamus"), values)
    known = Climatology("lab", [f"sub-{number:03d}" for number in range(50)], suvr)
    monkeypatch.setattr(module, "find_cache", lambda *args, **options: None)
    monkeypatch.setattr(module, "climatology_of", lambda cohort: known)
    return known


@pytest.fixture
def model(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def written(out, model, **options):
    line = write_uncertainty(out, model, training_data="cohort", **options)
    return line, (out / "uncertainty.md").read_text()


def values(out, region="cortex"):
    return {
        (line["quantity"], line["level"]): float(line["value"])
        for line in read_table(out / "uncertainty.tsv")
        if line["region"] == region and line["value"]
    }


def test_the_files_hold_the_scores(evaluated, model):
    out = evaluated(30)
    line, page = written(out, model)
    assert str(out / "uncertainty.md") in line
    assert (out / "uncertainty.png").read_bytes().startswith(b"\x89PNG")
    people, found = read_people(out), values(out)
    fair = crps(people.drawn["cortex"], people.measured["cortex"], fair=True).mean()
    assert found["crps_fair", ""] == pytest.approx(fair, rel=1e-5)
    assert found["skill", ""] == pytest.approx(1 - fair / found["crps_climatology", ""], rel=1e-4)
    assert found["skill", ""] > 0.2
    assert sum(found[f"rank_{rank}", ""] for rank in range(5)) == 30
    assert found["spread_skill", ""] < 0.6
    assert found["raw_coverage", "0.9"] < 0.8
    assert values(out, "voxels")["spread_skill", ""] == pytest.approx(math.sqrt(0.25 * 5 / 4))
    assert "30 people, 4 samples each. The model has no calibration" in page
    assert "| lateral temporal |" not in page
    assert "| thalamus |" in page
    assert "calibrated covers" not in page
    assert "Amyloid" not in page


def test_only_scores_of_the_samples_take_their_plain_mean(evaluated):
    """All else is of the mean PET, which need not have the level of the few that were drawn."""
    out = evaluated(24)
    people = read_people(out)
    drawn, mean, measured = (of["cortex"] for of in (people.drawn, people.mean, people.measured))
    np.testing.assert_allclose(mean - drawn.mean(axis=1), 0.07)
    found = summarise(people).regions["cortex"]
    assert found.rmse == pytest.approx(np.sqrt(np.square(mean - measured).mean()))
    assert found.mae == pytest.approx(np.abs(mean - measured).mean())
    plain = np.sqrt(np.square(drawn.mean(axis=1) - measured).mean())
    spread = np.sqrt(drawn.var(axis=1, ddof=1).mean() * 5 / 4)
    assert found.spread_skill == pytest.approx(spread / plain)
    (row,) = spread_table([out]).rows
    assert row.cells["rmse"].value == pytest.approx(found.rmse)
    assert row.cells["raw_coverage"].value == found.raw[2].share
    within = np.abs(measured - mean) <= norm.ppf(0.95) * drawn.std(axis=1, ddof=1)
    assert (found.raw[2].level, found.raw[2].hits) == (0.9, within.sum())
    calibration = fit(people, "lab", {})
    residuals = calibration.regions["cortex"].residuals
    np.testing.assert_allclose(residuals, np.sort(measured - mean))
    status = status_of(drawn, mean, measured, Threshold("mine", 1.3), "cortex", calibration)
    p = [share_above(m, residuals, 1.3) for m in mean]
    assert status.scores["brier"] == pytest.approx(np.square(p - (measured > 1.3)).mean())


def test_a_calibration_of_other_people_is_tried(evaluated, model):
    other = fit(read_people(evaluated(24, name="other", seed=2, cohort="beef")), "lab", {})
    write_calibration(model / CALIBRATION, other)
    out = evaluated(40)
    _, page = written(out, model)
    assert "Calibrated: on 24 simulated people of lab." in page
    assert "calibrated 90 % covers" in page
    found = values(out)
    assert found["calibrated_coverage", "0.9"] >= 0.8 > found["raw_coverage", "0.9"] + 0.1
    half = other.regions["cortex"].q["0.9"]
    assert found["calibrated_width", "0.9"] == pytest.approx(2 * half, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "it was made from these people"),
        ({"split": "all"}, "it was made from these people"),
        ({"cohort": "beef", "steps": 10}, "not calibrated for these settings (steps 25 instead"),
    ],
)
def test_a_calibration_that_says_nothing_here_is_left_out(settings, reason, evaluated, model):
    own = fit(read_people(evaluated(24, name="own", **settings)), "lab", {})
    write_calibration(model / CALIBRATION, own)
    _, page = written(evaluated(24), model)
    assert reason in page
    assert "calibrated covers" not in page


def test_the_test_people_of_the_calibrations_cohort_are_others(evaluated, model):
    own = fit(read_people(evaluated(24, name="own", split="val")), "lab", {})
    write_calibration(model / CALIBRATION, own)
    _, page = written(evaluated(24, split="test"), model)
    assert "calibrated covers" in page


def test_another_models_calibration_is_refused(evaluated, model):
    other = fit(read_people(evaluated(24, name="other", model_sha256="0" * 64)), "lab", {})
    write_calibration(model / CALIBRATION, other)
    with pytest.raises(ModelError, match="made for another model"):
        written(evaluated(24), model)


def test_it_is_refused_before_anything_is_drawn(evaluated, model, tmp_path, capsys):
    from mri2pet.cli.main import main

    other = fit(read_people(evaluated(24, name="other", model_sha256="0" * 64)), "lab", {})
    write_calibration(model / CALIBRATION, other)
    out = tmp_path / "out"
    assert main(["evaluate", str(model), "--data", str(tmp_path), "-o", str(out)]) == 1
    told = capsys.readouterr().err
    assert "was made for another model" in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_too_few_samples_write_nothing(evaluated, model):
    out = evaluated(5, samples=3)
    line = write_uncertainty(out, model, training_data="cohort")
    assert "at least 4 samples" in line
    assert not any((out / name).exists() for name in FILES)


@pytest.mark.parametrize("calibrated", [False, True])
def test_status_is_scored_where_a_threshold_is_named(calibrated, evaluated, training):
    people = read_people(evaluated(40))
    calibration = fit(people, "lab", {}) if calibrated else None
    values = (people.drawn["cortex"], people.mean["cortex"], people.measured["cortex"])
    found = status_of(*values, Threshold("mine", 1.3), "cortex", calibration)
    summary = summarise(people, training, calibration, found)
    scores = summary.status.scores
    assert scores["above"] == (people.measured["cortex"] > 1.3).sum()
    assert scores["auroc"] > 0.8
    page = markdown(summary, "")
    assert "P(measured SUVR > mine)" in page
    assert ("not calibrated" in page) != calibrated


def test_regions_have_the_interval_of_a_calibration_of_other_people(evaluated, model):
    other = fit(read_people(evaluated(24, name="other", seed=2, cohort="beef")), "lab", {})
    write_calibration(model / CALIBRATION, other)
    out, what = evaluated(12), Quantification.of(threshold="mine=1.3")
    _, page = written(out, model, what=what)
    lines = read_table(out / "regions.tsv")
    assert [line["source"] for line in lines] == ["measured", "synthetic"] * 12
    people, half = read_people(out), other.regions["cortex"].q["0.9"]
    for place, (measured, synthetic) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        assert (synthetic["subject"], synthetic["session"]) == (people.subjects[place], "ses-01")
        mean = people.mean["cortex"][place]
        limits = [float(synthetic[name]) for name in ("low", "high", "level")]
        assert limits == pytest.approx([mean - half, mean + half, 0.9], rel=1e-5)
        p = other.probability_above(mean, 1.3)
        assert float(synthetic["P(SUVR > mine 1.3)"]) == pytest.approx(p, abs=1e-4)
        level = people.measured["cortex"][place]
        assert float(measured["mean_suvr"]) == pytest.approx(level, rel=1e-5)
        assert (measured["low"], measured["P(SUVR > mine 1.3)"]) == ("", "")
    assert "P(SUVR > mine 1.3, uncalibrated)" not in lines[0], "measured ones have no column"
    assert "the calibration's residuals" in page
    own = fit(read_people(out), "lab", {})
    write_calibration(model / CALIBRATION, own)
    written(out, model, what=what)
    (first, *_) = read_table(out / "regions.tsv")[1::2]
    assert first["low"] == "", "made from these people"
    assert "P(SUVR > mine 1.3, uncalibrated)" in first


def test_regions_do_not_need_many_samples(evaluated, model):
    out = evaluated(2, samples=2)
    line = write_uncertainty(out, model, training_data="c", what=Quantification.of())
    assert "at least 4 samples" in line
    assert len(read_table(out / "regions.tsv")) == 4


def test_without_training_people_there_is_no_skill(evaluated):
    summary = summarise(read_people(evaluated(5)))
    assert math.isnan(summary.regions["cortex"].skill)
    assert "| – | – |" in markdown(summary, "")


def test_climatology_is_of_the_training_peoples_first_scans():
    def pet(row):
        return np.full((16, 32, 32), row.level) * np.linspace(1, 2, 16)[:, None, None]

    rows = [SimpleNamespace(subject=s, level=v) for s, v in (("a", 1.0), ("a", 5.0), ("b", 2.0))]
    asked = []
    settings = {"cohort": "lab"}
    cohort = SimpleNamespace(
        rows=lambda split: asked.append(split) or rows, pet=pet, settings=settings
    )
    found = climatology_of(cohort)
    assert asked == ["train"]
    assert (found.cohort, sorted(found.subjects)) == ("lab", ["a", "b"])
    assert found.suvr["cortex"][0] == pytest.approx(found.suvr["cortex"][1])
    assert climatology_of(SimpleNamespace(rows=lambda split: [], pet=pet)) is None


def test_nobodys_own_value_is_in_the_climatology(evaluated):
    people = read_people(evaluated(10))
    own = Climatology("c0ffee", people.subjects, people.measured)
    elsewhere = Climatology("beef", people.subjects, people.measured)
    y = people.measured["cortex"]
    distances = np.abs(y[:, None] - y[None])
    left_out = [
        distances[i, np.arange(10) != i].sum() / 9
        - np.delete(np.delete(distances, i, 0), i, 1).sum() / (2 * 9 * 8)
        for i in range(10)
    ]
    found = summarise(people, own).regions["cortex"].crps_climatology
    assert found == pytest.approx(np.mean(left_out))
    assert summarise(people, elsewhere).regions["cortex"].crps_climatology < found
