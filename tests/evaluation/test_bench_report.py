"""The report on steps and samplers: figures that are those of the volumes; a run that goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri2pet.bench.report import bench_report
from mri2pet.bench.report_figure import draw_report, format_report
from mri2pet.errors import UsageError
from mri2pet.evaluation import rows as evaluation
from mri2pet.imaging.suvr.drawn import Drawn

POINTS = (("dpmpp", 2), ("ddim", 3))


@pytest.fixture
def run(model_folder, cohort_root, tmp_path):
    def call(**options):
        options = {"points": POINTS, "limit": 3, **options}
        return bench_report(model_folder, data=cohort_root, out=tmp_path / "report", **options)

    return call


def test_the_figures_are_those_of_the_volumes(run, cohort_cache, monkeypatch):
    def draw(engine, mri, row, sampling):
        measured = np.asarray(cohort_cache.pet(row), dtype=np.float32)
        pet = measured * (1 if sampling.sampler == "dpmpp" else 1.5)
        return Drawn(pet[None], pet)

    monkeypatch.setattr(evaluation, "draw", draw)
    result = run()
    exact, larger = result["points"]
    assert (exact["sampler"], exact["steps"], exact["volumes"]) == ("dpmpp", 2, 3)
    # A measured PET fades out at the edge of the brain, and a prediction is faded once more.
    assert exact["mae"] < 0.01
    assert exact["ssim"] > 0.99
    assert exact["cortical_suvr_error"] == pytest.approx(0, abs=0.01)
    assert exact["cortical_suvr_r"] == pytest.approx(1, abs=1e-3)
    inside = [np.asarray(cohort_cache.brain(row)) > 0.5 for row in cohort_cache.rows()[:3]]
    pets = [np.asarray(cohort_cache.pet(row), dtype=np.float32) for row in cohort_cache.rows()[:3]]
    half = np.mean([0.5 * pet[brain].mean() for pet, brain in zip(pets, inside, strict=True)])
    assert larger["mae"] == pytest.approx(half, rel=0.02)


def test_a_stopped_report_goes_on(run, tmp_path, monkeypatch):
    calls = []
    draw = evaluation.draw

    def counted(engine, mri, row, sampling):
        calls.append((sampling.sampler, sampling.steps, row.name))
        return draw(engine, mri, row, sampling)

    monkeypatch.setattr(evaluation, "draw", counted)
    whole = run()
    records = tmp_path / "report" / "records.jsonl"
    lines = records.read_text().splitlines()
    assert len(lines) == 6
    records.write_text("\n".join(lines[:4]) + "\n" + lines[4][:30])
    calls.clear()
    again = run()
    assert [c for c in calls if c[1] == 3 and c[0] == "ddim"] == [
        ("ddim", 3, row) for row in whole["rows"][1:]
    ]
    for first, second in zip(whole["points"], again["points"], strict=True):
        assert first["psnr"] == second["psnr"]
    assert again["extra_bytes"] > 0


@pytest.mark.slow
def test_a_report_is_a_table_and_a_picture(run, tmp_path):
    result = run()
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == result
    draw_report(result, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert "| DPM-Solver++(2M) | 2 |" in format_report(result)


def test_what_cannot_be_reported_is_refused(run):
    run(points=(("dpmpp", 1),))
    with pytest.raises(UsageError, match="another rows"):
        run(limit=2)
    with pytest.raises(UsageError):
        run(points=(("dpmpp", 0),))
    with pytest.raises(UsageError, match="at least one"):
        run(points=())
