"""Ways to draw beside each other, of the same people's first scans."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from mri2pet.errors import UsageError
from mri2pet.uncertainty.compare import spread_table
from mri2pet.uncertainty.people import read_people
from mri2pet.uncertainty.scores import crps
from mri2pet.uncertainty.summary import summarise


def changed(out, name, change, **settings):
    """A copy of an evaluation whose samples are others."""
    copy = shutil.copytree(out, out.with_name(name))
    for path in (copy / "subjects").glob("*.json"):
        record = json.loads(path.read_text())
        drawn = np.array(record["drawn"]["cortex"])
        record["drawn"]["cortex"] = change(drawn, record["measured"]["cortex"]).tolist()
        path.write_text(json.dumps(record))
    described = json.loads((copy / "settings.json").read_text()) | settings
    (copy / "settings.json").write_text(json.dumps(described))
    return copy


def wider(drawn, measured):
    return drawn.mean() + 3 * (drawn - drawn.mean())


def test_figures_are_those_of_each_evaluation(evaluated):
    out = evaluated(20)
    members = [{"name": "a", "sha256": "0"}, {"name": "b", "sha256": "1"}]
    wide = changed(out, "wide", wider, sampler="ddpm", steps=100, members=members)
    table = spread_table([out, wide])
    assert [row.name for row in table.rows] == [
        "evaluation: dpmpp, 25 steps, 4 samples",
        "wide: ddpm, 100 steps, 4 samples, 2 models",
    ]
    for row, folder in zip(table.rows, (out, wide), strict=True):
        cortex = summarise(read_people(folder)).regions["cortex"]
        cells = row.cells
        assert cells["sd_of_samples"].value == pytest.approx(cortex.sd_of_samples)
        assert cells["rmse"].value == pytest.approx(cortex.rmse)
        assert cells["spread_skill"].value == pytest.approx(cortex.spread_skill)
        assert cells["crps"].value == pytest.approx(cortex.crps_fair)
        assert cells["crps"].low < cells["crps"].value < cells["crps"].high
        covered = next(of for of in cortex.raw if of.level == 0.9)
        found = (cells["raw_coverage"].value, cells["raw_width"].value)
        assert found == pytest.approx((covered.share, covered.width))
        assert cells["voxels"].value == pytest.approx(math.sqrt(0.25 * 5 / 4))
        assert cells["seconds"].value == 1.5
    first, second = (row.cells for row in table.rows)
    assert second["rmse"].value == pytest.approx(first["rmse"].value)
    assert "crps_change" not in first
    people = read_people(out), read_people(wide)
    values = [crps(p.drawn["cortex"], p.measured["cortex"], fair=True) for p in people]
    change = second["crps_change"]
    assert change.value == pytest.approx((values[1] - values[0]).mean())
    assert change.low < change.value < change.high < 0, "the fixture's samples are too sure"
    assert "20 people" in table.notes[0]


def test_only_first_scans_that_all_have_count(evaluated):
    out = evaluated(5)
    path = out / "subjects" / "sub-001_ses-01.json"
    record = json.loads(path.read_text())
    later = record | {"row": "sub-001_ses-02", "measured": {"cortex": 9.0}}
    path.with_name("sub-001_ses-02.json").write_text(json.dumps(later))
    other = changed(out, "other", lambda drawn, measured: drawn)
    (other / "subjects" / "sub-003_ses-01.json").unlink()
    nan = other / "subjects" / "sub-004_ses-01.json"
    record = json.loads(nan.read_text())
    record["drawn"]["cortex"][1] = math.nan
    nan.write_text(json.dumps(record))
    table = spread_table([out, other])
    assert "3 people" in table.notes[0]
    assert table.rows[0].cells["rmse"].value < 1, "without the second scan"
    assert table.rows[1].cells["crps_change"].value == 0


def test_few_samples_are_left_out_and_other_cohorts_refused(evaluated):
    out, few = evaluated(5), evaluated(5, samples=3, name="few")
    table = spread_table([few, out])
    assert [row.name for row in table.rows] == ["evaluation: dpmpp, 25 steps, 4 samples"]
    assert table.notes[1] == "Fewer than 4 samples a scan: few: dpmpp, 25 steps, 3 samples."
    assert spread_table([few]) is None
    with pytest.raises(UsageError, match="differ in cohort"):
        spread_table([out, evaluated(5, name="other", cohort="beef")])
