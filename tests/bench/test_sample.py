"""The sampling benchmark times only forms that give the same volume."""

from __future__ import annotations

import pytest

from mri2pet.bench import sample as bench
from mri2pet.bench.sample import FORMS, bench_sample, default_forms, format_sample
from mri2pet.config import load_config
from mri2pet.errors import Mri2petError, UsageError

SETTINGS = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(bench, "load_config", lambda preset: load_config(preset, SETTINGS))


IN_TORCH = ("authors", "torch", "torch-bf16")


@pytest.mark.parametrize(
    ("preset", "forms"),
    [("compact", (*IN_TORCH, "onnxruntime", "onnxruntime-fp16")), ("paper", IN_TORCH)],
)
def test_every_form_gives_the_same_volume(preset, forms):
    result = bench_sample(preset, forms=forms, batch=2, steps=3)
    assert tuple(row["form"] for row in result["rows"]) == forms
    for row in result["rows"]:
        assert row["relative_difference"] < (3e-2 if "-" in row["form"] else 1e-4)
        assert row["volumes_per_minute"] == pytest.approx(60 / row["seconds_per_volume"])
        assert row["seconds_per_evaluation"] == pytest.approx(row["seconds_per_volume"] * 2 / 3)
    assert forms[-1] in format_sample(result)


def test_a_form_that_differs_is_not_timed(monkeypatch):
    monkeypatch.setattr(bench, "_authors_loop", lambda model, mri, batch, *_: 1 + mri)
    with pytest.raises(Mri2petError, match="does not give the volume"):
        bench_sample("compact", forms=("authors", "torch"), steps=2)


@pytest.mark.parametrize("wrong", [{"forms": ("quick",)}, {"batch": 0}, {"repeats": 2}])
def test_senseless_numbers_are_refused(wrong):
    with pytest.raises(UsageError):
        bench_sample("compact", **({"steps": 1} | wrong))


def test_what_is_timed_by_default(monkeypatch):
    assert default_forms("cpu") == ("authors", "torch", "torch-bf16", "onnxruntime")
    monkeypatch.setattr("mri2pet.bench.sample.find_spec", lambda name: None)
    assert set(default_forms("cuda")) == {f for f in FORMS if not f.startswith("tensorrt")}
    monkeypatch.setattr("mri2pet.bench.sample.find_spec", lambda name: name)
    assert default_forms("cuda:1") == FORMS
