"""A calibration from its people to the interval of a result, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mri2pet.descriptions import read_description, write_description
from mri2pet.errors import InputError, ModelError, Mri2petError, UsageError
from mri2pet.evaluation.evaluate import Evaluation
from mri2pet.evaluation.settings import Sampling
from mri2pet.uncertainty import calibrate as module
from mri2pet.uncertainty import calibration as calibration_module
from mri2pet.uncertainty.calibrate import CalibrationResult, calibrate, fit
from mri2pet.uncertainty.calibration import (
    CALIBRATION,
    calibration_path,
    read_calibration,
    settings_of,
    trained_on_simulated,
    write_calibration,
)
from mri2pet.uncertainty.people import read_people


@pytest.fixture
def calibrated(evaluated, model_folder, tmp_path):
    """A copy of the model with a calibration on so many people; its folder."""

    def make(people: int = 24, **settings) -> Path:
        folder = tmp_path / f"model-{people}"
        shutil.copytree(model_folder, folder)
        found = fit(read_people(evaluated(people, name=f"out-{people}", **settings)), "cohort", {})
        write_calibration(folder / CALIBRATION, found)
        return folder

    return make


def sha256_of(folder: Path) -> str:
    return json.loads((folder / "model.json").read_text())["sha256"]


def test_what_is_written_is_read(calibrated):
    folder = calibrated()
    found = read_calibration(folder, sha256_of(folder))
    assert (found.cohort.people, found.cohort.split, found.cohort.simulated) == (24, "val", True)
    cortex = found.regions["cortex"]
    assert len(cortex.residuals) == 24
    assert cortex.residuals == sorted(cortex.residuals)
    assert cortex.q["0.9"] == pytest.approx(sorted(map(abs, cortex.residuals))[22])
    assert [record.level for record in cortex.raw] == [0.5, 0.8, 0.9, 0.95]
    assert cortex.left_out[2].hits >= cortex.raw[2].hits
    assert found.joint["0.9"] > 0
    assert "sub-" not in (folder / CALIBRATION).read_text()


def test_the_interval_of_a_result(calibrated):
    folder = calibrated()
    found = read_calibration(folder, sha256_of(folder))
    interval = found.interval("cortex", 1.3, 0.03)
    q = found.regions["cortex"].q["0.9"]
    assert (interval["low"], interval["high"]) == (1.3 - q, 1.3 + q)
    assert (interval["level"], interval["people"], interval["cohort"]) == (0.9, 24, "cohort")
    assert interval["label"] == "90 % interval, calibrated on 24 simulated people of cohort"
    told = found.interval("cortex", 1.3, 0.03, simulated=True)["label"]
    assert told.endswith("; the model was trained on simulated people")


def test_a_scaled_region_widens_with_the_spread_but_not_below_its_floor(calibrated):
    folder = calibrated()
    found = read_calibration(folder, sha256_of(folder))
    scaled = found.regions["cortex"].model_copy(
        update={"score": "scaled", "spread_floor": 0.05, "q": {"0.9": 3.0}}
    )
    found = found.model_copy(update={"regions": {"cortex": scaled}})
    assert found.half_width("cortex", 0.1) == pytest.approx(0.3)
    assert found.half_width("cortex", 0.001) == pytest.approx(0.15)


@pytest.mark.parametrize(("people", "finite"), [(8, ["0.5", "0.8"]), (9, ["0.5", "0.8", "0.9"])])
def test_too_few_people_have_no_interval_and_are_told_how_many_are_needed(
    calibrated, people, finite
):
    folder = calibrated(people)
    found = read_calibration(folder, sha256_of(folder))
    assert [level for level, q in found.regions["cortex"].q.items() if q is not None] == finite
    table = CalibrationResult(folder, found, {}).table
    assert "No 95 % interval: it needs at least 19 people, and there are" in table
    assert ("No 90 % interval: it needs at least 9 people, and there are 8." in table) == (
        people == 8
    )
    if people == 8:
        assert found.interval("cortex", 1.3, 0.03) is None
        assert "at least 9 people" in found.label()
        assert math.isinf(found.half_width("cortex", 0.03))


def test_a_factor_for_the_spread_needs_thirty_people(evaluated):
    few, many = (fit(read_people(evaluated(n, name=str(n))), "cohort", {}) for n in (29, 30))
    assert few.regions["cortex"].spread_factor is None
    assert 2 < many.regions["cortex"].spread_factor < 6


def test_one_person_is_refused(evaluated):
    with pytest.raises(InputError, match="at least 9 people"):
        fit(read_people(evaluated(1)), "cohort", {})


def test_a_person_counts_once_by_the_first_scan(evaluated):
    out = evaluated(3)
    record = json.loads((out / "subjects" / "sub-001_ses-01.json").read_text())
    later = record | {"row": "sub-001_ses-02", "measured": dict.fromkeys(record["measured"], 9.0)}
    (out / "subjects" / "sub-001_ses-02.json").write_text(json.dumps(later))
    with (out / "metrics.tsv").open("a") as file:
        file.write("sub-001_ses-02\tone_sample\n")
    people = read_people(out)
    assert len(people) == 3
    assert people.measured["cortex"].max() < 9


def test_scans_without_a_finite_suvr_are_left_out(evaluated):
    out = evaluated(3)
    path = out / "subjects" / "sub-001_ses-01.json"
    record = json.loads(path.read_text())
    record["drawn"]["frontal"][0] = math.nan
    path.write_text(json.dumps(record))
    assert len(read_people(out)) == 2


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no finished evaluation"):
        read_people(tmp_path)


def test_another_model_is_refused(calibrated):
    folder = calibrated()
    with pytest.raises(ModelError, match="was made for another model; run mri2pet calibrate"):
        read_calibration(folder, "0" * 64)


def test_damage_and_other_formats_are_refused(calibrated):
    folder = calibrated()
    path, sha256 = folder / CALIBRATION, sha256_of(folder)
    whole = path.read_text()
    path.write_text(whole.replace('"people": 24', '"people": 25'))
    with pytest.raises(ModelError, match="its hash differs"):
        read_calibration(folder, sha256)
    path.write_text(whole[:200])
    with pytest.raises(ModelError, match="or cut"):
        read_calibration(folder, sha256)
    path.write_text(whole)
    tree = read_description(path)
    write_description(path, tree | {"format": 1})
    with pytest.raises(ModelError, match="not of calibration format 2"):
        read_calibration(folder, sha256)
    write_description(path, {k: v for k, v in tree.items() if k != "joint"})
    with pytest.raises(ModelError, match="joint: Field required"):
        read_calibration(folder, sha256)


def test_settings_that_differ_are_named(calibrated):
    folder = calibrated()
    found = read_calibration(folder, sha256_of(folder))
    same = settings_of({}, sampler="dpmpp", steps=25, samples=4)
    assert found.misfits(same) == []
    other = settings_of({}, sampler="ddpm", steps=10, samples=8)
    assert found.misfits(other) == [
        "sampler ddpm instead of dpmpp",
        "steps 10 instead of 25",
        "samples 8 instead of 4",
    ]
    by_pons = settings_of(
        {"reference": {"key": "sha256:abc"}}, sampler="dpmpp", steps=25, samples=4
    )
    assert found.misfits(by_pons) == ["another reference"]
    composite = same.model_copy(update={"composite": {"name": "mine", "sha256": "0" * 64}})
    assert found.misfits(composite) == ["another composite"]


def test_no_calibration_is_none(model_folder):
    assert read_calibration(model_folder, sha256_of(model_folder)) is None
    export = model_folder / "export"
    assert calibration_path(export, "0" * 64) == export / CALIBRATION


def test_a_model_of_simulated_people_is_known_by_its_provenance():
    assert trained_on_simulated({"simulated": True})
    assert trained_on_simulated({"config": {"data": {"registration": "truth"}}})
    assert not trained_on_simulated({"config": {"data": {"registration": "estimate"}}})
    assert not trained_on_simulated({})


def test_the_bundled_model_says_that_its_people_were_simulated():
    from mri2pet.checkpoint import load_model

    assert trained_on_simulated(load_model("demo").provenance)


def test_calibrate_draws_by_an_evaluation_and_writes_beside_the_model(
    evaluated, model_folder, tmp_path, monkeypatch
):
    folder, asked = tmp_path / "model", {}
    shutil.copytree(model_folder, folder)

    def evaluate(model, **options):
        asked.update(options, model=model)
        return Evaluation(evaluated(), {}, "", {"sub-9": "is bad"})

    monkeypatch.setattr(module, "evaluate", evaluate)
    sampling = Sampling(samples=4)
    result = calibrate(
        folder,
        data=tmp_path / "lab",
        out=tmp_path / "out",
        sampling=sampling,
        training_data="learnt",
        training_registration="truth",
    )
    assert (asked["split"], asked["sampling"]) == ("val", sampling)
    assert (asked["training_data"], asked["training_registration"]) == ("learnt", "truth")
    assert result.path == folder / CALIBRATION
    assert result.failures == {"sub-9": "is bad"}
    found = read_calibration(folder, sha256_of(folder))
    assert found.cohort.name == "lab"
    assert found == result.calibration
    assert "| 90 % |" in result.table


def test_the_people_may_have_a_readable_name_or_none(
    evaluated, model_folder, tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    made = Evaluation(evaluated(), {}, "", {})
    monkeypatch.setattr(module, "evaluate", lambda model, **options: made)
    where = {"data": tmp_path / "held.tsv", "out": tmp_path / "out"}
    label = "90 % interval, calibrated on 24 simulated people"
    for given, told, cohort in (
        (None, f"{label} of held.tsv", "held.tsv"),
        (" the  memory clinic", f"{label} of the memory clinic", "the memory clinic"),
        ("", label, "simulated people"),
    ):
        calibrate(folder, cohort_name=given, **where)
        found = read_calibration(folder, sha256_of(folder))
        assert found.label() == told
        assert found.interval("cortex", 1.3, 0.03)["cohort"] == cohort


def test_the_bundled_calibration_names_no_file():
    from mri2pet.checkpoint import load_model

    told = read_calibration("demo", load_model("demo").sha256).label()
    assert told.startswith("90 % interval, calibrated on 50 simulated people, whose")


def test_what_a_calibration_cannot_be_made_from_is_refused(model_folder, tmp_path):
    where = {"data": tmp_path, "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="has learnt these people"):
        calibrate(model_folder, split="train", **where)
    with pytest.raises(UsageError, match="at least 4"):
        calibrate(model_folder, sampling=Sampling(samples=3), **where)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_told(evaluated, tmp_path):
    (tmp_path / "file").touch()
    found = fit(read_people(evaluated()), "cohort", {})
    with pytest.raises(Mri2petError, match="copy the model to a folder of your own"):
        write_calibration(tmp_path / "file" / CALIBRATION, found)


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_drawn(
    model_folder, tmp_path, monkeypatch
):
    def refuse(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(calibration_module, "temporary_beside", refuse)
    with pytest.raises(Mri2petError, match="copy the model to a folder of your own"):
        calibrate(model_folder, data=tmp_path / "absent", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_probabilities_come_from_the_residuals(evaluated):
    people = read_people(evaluated())
    found = fit(people, "cohort", {})
    residuals = np.array(found.regions["cortex"].residuals)
    expected = np.clip((1.2 + residuals > 1.25).mean(), 1 / 25, 24 / 25)
    assert found.probability_above(1.2, 1.25) == pytest.approx(expected)
