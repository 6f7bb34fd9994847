"""Centiloid by name alone, and never without what it is worth."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.suvr.equations import EQUATIONS
from mri2pet.quantification.centiloid import STANDARD_VOIS, UNCALIBRATED, Centiloid
from mri2pet.quantification.composite import Composite

LEVEL2 = {"pairs": 30, "r_squared": 0.9, "slope": 0.5, "intercept": 0.4}


@pytest.fixture(scope="module")
def built_in():
    return Composite.of(None, None)


@pytest.fixture
def custom(tmp_path, built_in):
    """Asks for an equation that a file holds."""

    def ask(**content):
        path = tmp_path / "ours.json"
        path.write_text(json.dumps({"name": "ours", "a": 100, "b": -100} | content))
        return Centiloid.of(f"custom={path}", built_in)

    return ask


@pytest.mark.parametrize(
    ("name", "at_125"),
    [("royse2021-fbp", 46.115), ("navitsky2018-avid", 51.5775), ("navitsky2018-standard", 36.7325)],
)
def test_the_table(name, at_125, built_in):
    scale = Centiloid.of(name, built_in)
    value = scale.value(1.25, measured=True)
    assert value.centiloid == pytest.approx(at_125)
    assert not value.calibrated
    assert UNCALIBRATED in value.note
    assert "the SUVR is built-in cortex" in value.note
    assert scale.heading(value.calibrated) == f"Centiloid ({name}, uncalibrated)"
    assert scale.record()["calibrated"] is False


def test_the_check_of_the_berkeley_threshold():
    assert EQUATIONS["royse2021-fbp"].centiloid(1.11) == pytest.approx(19.8, abs=0.05)


def test_only_the_standard_equation_belongs_to_the_standard_vois(built_in):
    files = {role: {"file": f"{role}.nii", "sha256": sha} for role, sha in STANDARD_VOIS.items()}
    standard = replace(built_in, files=files, label="ctx over WhlCbl")
    assert Centiloid.of("navitsky2018-standard", standard).warning == ""
    for name in ("royse2021-fbp", "navitsky2018-avid"):
        assert "belongs to" in Centiloid.of(name, standard).warning


def test_an_unknown_name_is_refused(built_in):
    with pytest.raises(UsageError, match="no such equation; choose one of royse2021-fbp"):
        Centiloid.of("klunk", built_in)


def test_a_custom_equation_is_uncalibrated_without_its_figures(custom):
    value = custom().value(1.5, measured=True)
    assert value.centiloid == pytest.approx(50)
    assert (value.calibrated, value.note) == (False, UNCALIBRATED)
    assert custom().heading(value.calibrated) == "Centiloid (ours, uncalibrated)"


@pytest.mark.parametrize(
    ("figures", "why"),
    [({"pairs": 24}, "24 pairs"), ({"r_squared": 0.7}, "R² = 0.7"), ({}, "another composite")],
)
def test_figures_that_do_not_do(figures, why, custom, built_in):
    of = "other" if "another" in why else built_in.key
    value = custom(level2=LEVEL2 | figures, composite=of).value(1.5, measured=True)
    assert not value.calibrated
    assert why in value.note


def test_a_calibrated_equation_holds_for_measured_pets_alone(custom, built_in):
    scale = custom(level2=LEVEL2, composite=built_in.key)
    assert scale.value(1.5, measured=True).as_dict() == {
        "centiloid": 50.0,
        "calibrated": True,
        "note": "",
    }
    assert scale.heading(calibrated=True) == "Centiloid (ours)"
    drawn = scale.value(1.5, measured=False)
    assert not drawn.calibrated
    assert "synthetic or simulated" in drawn.note


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"name": ""}, "has no name"),
        ({"name": "royse2021-fbp"}, "published equation"),
        ({"a": "high"}, "must be numbers"),
        ({"b": True}, "must be numbers"),
        ({"level2": {"pairs": 30}}, "no number for r_squared, slope, intercept"),
    ],
)
def test_an_unusable_file_is_refused(content, why, custom):
    with pytest.raises(InputError, match=why):
        custom(**content)


def test_no_file_and_no_json_are_refused(tmp_path, built_in):
    with pytest.raises(InputError, match="no such file"):
        Centiloid.of(f"custom={tmp_path / 'absent.json'}", built_in)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="is no JSON object"):
        Centiloid.of(f"custom={tmp_path / 'list.json'}", built_in)
