"""The table of regions on a page."""

from __future__ import annotations

from typing import Any

import pytest

from mri2pet.report.regions import regions_section


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "reference": "whole cerebellum",
        "composite": {"name": "built-in"},
        "atlas": {"file": "<a>.nii", "sha256": "ef" * 32},
        "threshold": {"note": "An MRI alone tells little."},
        "values": {
            "centiloid": {
                "heading": "Centiloid (x, uncalibrated)",
                "centiloid": 31.4,
                "note": "not calibrated",
            },
            "status": {"heading": "P(SUVR > lab 1.2)", "p": None, "note": "one sample",
                       "question": "probability of more"},
        },
        "regions": [
            {"region": "composite", "index": None, "volume_ml": 9, "suvr": [1.0, 1.2],
             "mean": 1.1, "covered": 1.0, "note": ""},
            {"region": "<left>", "index": 3, "volume_ml": 2.25, "suvr": [], "mean": None,
             "covered": 0.41,
             "note": "only 41 % in view"},
        ],
    }  # fmt: skip


def test_values_stand_beside_what_they_are_worth(found: dict[str, Any]) -> None:
    html = regions_section(found)
    for text in (
        "<td>1.100</td><td>0.141</td><td>100 %</td>",
        "&lt;left&gt; <small>only 41 % in view</small>",
        "<td>2.2</td><td>—</td><td>—</td><td>41 %</td>",
        '<div class="value">31</div><div class="detail">not calibrated</div>',
        '<div class="value">—</div><div class="detail">one sample</div>',
        "P(SUVR &gt; lab 1.2)",
        "&lt;a&gt;.nii, sha256 " + "ef" * 32,
        "probability of more. An MRI alone tells little.",
    ):
        assert text in html


def test_nothing_asked_for_is_no_section() -> None:
    assert regions_section(None) == ""


def test_without_centiloid_and_threshold_there_are_no_boxes(found: dict[str, Any]) -> None:
    assert "card" not in regions_section(found | {"values": {}})
