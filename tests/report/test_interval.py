"""The section on uncertainty: what is drawn where, and its words."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from mri2pet.report import ReportInput
from mri2pet.report.interval import interval_text, uncertainty_section


@pytest.fixture
def measurements(content: ReportInput) -> dict[str, Any]:
    return deepcopy(dict(content.sidecar["measurements"]))


def places(section: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'class="{kind}" style="left:([\d.]+)%', section)]


def test_a_single_sample_is_called_so(measurements: dict[str, Any]) -> None:
    assert "Dots are the samples, the line is the mean PET." in uncertainty_section(measurements)
    one = measurements["cortical_suvr"]
    one["samples"] = one["samples"][:1]
    assert "The line is the one sample." in uncertainty_section(measurements)


def test_samples_mean_and_interval_lie_on_one_axis(measurements: dict[str, Any]) -> None:
    section = uncertainty_section(measurements)
    assert places(section, "sample")[:4] == [35.0, 35.5, 38.0, 38.5]
    assert places(section, "mean") == [36.7, 40.0]
    assert 'class="bar" style="left:22.55%;width:28.30%"' in section
    assert "1.23 (0.95 to 1.52)" in section
    assert "lateral temporal" in section


def test_what_lies_outside_stands_at_the_end_of_the_axis(measurements: dict[str, Any]) -> None:
    section = uncertainty_section(measurements)
    assert 'class="bar" style="left:0.00%;width:100.00%"' in section
    assert "(0.20 to 2.90)" in section


def test_the_words_say_what_the_interval_is(measurements: dict[str, Any]) -> None:
    section = uncertainty_section(measurements)
    assert "calibrated on 40 people of lab &amp; &lt;co&gt;." in section
    assert "For 90 of 100 such people a measured PET lies in it" in section
    assert "threshold" not in section


def test_without_a_calibration_there_is_no_bar(measurements: dict[str, Any]) -> None:
    for of in (measurements["cortical_suvr"], *measurements["regional_suvr"].values()):
        of["interval"] = None
    measurements["uncertainty"] = "not calibrated for these settings (no <file>)"
    section = uncertainty_section(measurements)
    assert 'class="bar"' not in section
    assert "Not calibrated for these settings (no &lt;file&gt;)." in section
    assert len(places(section, "sample")) == 8
    assert interval_text(measurements["cortical_suvr"]) == ""


def test_a_named_threshold_is_drawn_for_the_composite(measurements: dict[str, Any]) -> None:
    section = uncertainty_section(measurements, ("lab's <own>", 1.1))
    assert places(section, "threshold") == [30.0]
    assert "the threshold lab&#x27;s &lt;own&gt;, 1.1 SUVR" in section
