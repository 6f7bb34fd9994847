"""`--models` in the place of a model, in each command that draws."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mri2pet.cli.main import main

SEVERAL = ["--models", "a", "--models", "b,c"]
COHORT = ["--data", "cohort", "-o", "out", "-q"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The model that each command hands to the library."""
    found: list[object] = []

    def synthesize(inputs, out, *, model, **choices):
        found.append(model)
        return []

    def evaluate(model, **options):
        found.append(model)
        return SimpleNamespace(table="", out="out", path="out", failures={})

    def write_uncertainty(out, model, **options):
        found.append(model)
        return ""

    monkeypatch.setattr("mri2pet.synthesis.synthesize", synthesize)
    monkeypatch.setattr("mri2pet.evaluation.evaluate.evaluate", evaluate)
    monkeypatch.setattr("mri2pet.uncertainty.calibrate.calibrate", evaluate)
    monkeypatch.setattr("mri2pet.uncertainty.evaluated.check_calibration", found.append)
    monkeypatch.setattr("mri2pet.uncertainty.evaluated.write_uncertainty", write_uncertainty)
    return found


def test_several_models_arrive_in_their_order(asked: list[object]) -> None:
    assert main(["synthesize", "a.nii", "-o", "out", *SEVERAL]) == 0
    assert main(["evaluate", *SEVERAL, *COHORT]) == 0
    assert main(["calibrate", *SEVERAL, *COHORT]) == 0
    assert asked == [["a", "b,c"]] * 5


def test_one_model_arrives_as_before(asked: list[object]) -> None:
    assert main(["synthesize", "a.nii", "-o", "out"]) == 0
    assert main(["evaluate", "m", *COHORT]) == 0
    assert main(["calibrate", "m", *COHORT]) == 0
    assert asked == ["demo", "m", "m", "m", "m"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["synthesize", "a.nii", "-o", "out", "--model", "demo", *SEVERAL], "--model"),
        (["evaluate", "m", *SEVERAL, *COHORT], "MODEL"),
        (["evaluate", *COHORT], "MODEL"),
        (["calibrate", *COHORT], "MODEL"),
    ],
)
def test_both_or_none_is_misuse(
    asked: list[object], capsys: pytest.CaptureFixture[str], words: list[str], name: str
) -> None:
    assert main(words) == 2
    told = f"give {name}, or --models once for each model of an ensemble"
    assert told in capsys.readouterr().err
    assert asked == []
