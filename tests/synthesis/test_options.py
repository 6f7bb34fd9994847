"""Options are checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mri2pet.diffusion import samplers
from mri2pet.errors import InputError, UsageError
from mri2pet.synthesis import options
from mri2pet.synthesis.options import SynthesisOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samples": -1},
        {"steps": 0},
        {"steps": 1000},
        {"sampler": "euler"},
        {"device": "tpu"},
        {"extractor": "bet"},
        {"seed": -1},
        {"seed": 2**32},
        {"skull_stripped": True, "brain_mask": Path("mask.nii.gz")},
    ],
)
def test_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        SynthesisOptions(**wrong)
    assert next(iter(wrong)).replace("_", "-") in str(caught.value)


def test_hd_bet_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        SynthesisOptions(extractor="hd-bet")


def test_the_brain_mask_belongs_to_the_settings(tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(b"one")
    first = SynthesisOptions(brain_mask=mask).settings()
    mask.write_bytes(b"two")
    assert SynthesisOptions(brain_mask=mask).settings() != first
    with pytest.raises(InputError, match=r"gone\.nii"):
        SynthesisOptions(brain_mask=tmp_path / "gone.nii").settings()


def test_a_deepbet_that_may_find_the_brain_belongs_to_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for installed in (None, "1.0.2"):
        monkeypatch.setattr("mri2pet.imaging.brain.deepbet.version", lambda v=installed: v)
        assert SynthesisOptions().settings()["extractor"] == "auto"
        assert SynthesisOptions().settings()["deepbet"] == installed
        for without in ({"extractor": "template"}, {"skull_stripped": True}):
            assert SynthesisOptions(**without).settings()["deepbet"] is None
    assert SynthesisOptions(extractor="deepbet").settings()["deepbet"] == "1.0.2"
    monkeypatch.setattr("mri2pet.imaging.brain.deepbet.version", lambda: None)
    with pytest.raises(UsageError, match="not installed"):
        SynthesisOptions(extractor="deepbet")


def test_the_choices_are_those_of_the_sampling_loop() -> None:
    assert set(options.SAMPLERS) == set(samplers.SAMPLERS)
    assert len(samplers.spaced_timesteps(options.MAX_STEPS)) == options.MAX_STEPS
