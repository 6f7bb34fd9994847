"""The sampling benchmark times only forms that give the same volume."""

from __future__ import annotations

import copy
import dataclasses
import sys

import pytest
import torch

from mri2pet.bench import sample as bench
from mri2pet.bench.sample import FORMS, bench_sample, default_forms, format_sample
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.export import export_onnx

SETTINGS = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")

IN_TORCH = ("authors", "torch", "torch-bf16")


@pytest.fixture
def once(monkeypatch):
    """Each form is timed once: how long it takes does not matter here."""
    monkeypatch.setattr("mri2pet.bench.timing.MINIMUM_REPEATS", 1)
    return {"settings": SETTINGS, "repeats": 1}


@pytest.fixture
def exported(monkeypatch, small_concat_model, graphs_of_small_export):
    """Precisions that were asked for; what is timed is a model whose graphs are there already.

    The graphs in half precision are measured by the tests of the export.
    """
    asked = []

    def model(*given):
        network = copy.deepcopy(small_concat_model.network)
        return dataclasses.replace(small_concat_model, network=network)

    def export(*given, precision, **options):
        asked.append(precision)
        return export_onnx(*given, precision=precision, **options)

    monkeypatch.setattr(bench, "_model", model)
    monkeypatch.setattr("mri2pet.export.export_onnx", export)
    return asked


def same_volumes(preset, forms, once):
    seen: list[int] = []
    result = bench_sample(
        preset,
        forms=forms,
        batch=2,
        steps=3,
        on_row=lambda so_far: seen.append(len(so_far["rows"])),
        **once,
    )
    assert seen == list(range(1, len(forms) + 1))
    assert tuple(row["form"] for row in result["rows"]) == forms
    for row in result["rows"]:
        assert row["relative_difference"] < (3e-2 if "-" in row["form"] else 1e-4)
        assert row["volumes_per_minute"] == pytest.approx(60 / row["seconds_per_volume"])
        whole = row["seconds_per_volume"] / 3 * 999
        assert row["seconds_per_volume_of_999_steps"] == pytest.approx(whole)
        assert row["seconds_per_evaluation"] == pytest.approx(row["seconds_per_volume"] * 2 / 3)
    assert forms[-1] in format_sample(result)


@pytest.mark.slow
def test_every_form_gives_the_same_volume(once, exported):
    same_volumes("compact", (*IN_TORCH, "onnxruntime", "onnxruntime-fp16"), once)
    assert exported == ["fp32", "fp16"]


@pytest.mark.slow
def test_every_form_in_torch_gives_the_same_volume_by_its_embedding(once):
    same_volumes("paper", IN_TORCH, once)


def test_a_form_that_differs_or_cannot_run_is_a_row_with_its_reason(monkeypatch, once):
    monkeypatch.setattr(bench, "_authors_loop", lambda model, mri, *_: 1 + torch.ones_like(mri))
    forms = ("torch", "authors", "torch-fp16", "torch-tf32", "torch-bf16")
    result = bench_sample("compact", forms=forms, steps=2, **once)
    rows = {row["form"]: row for row in result["rows"]}
    assert tuple(rows) == forms
    assert "another volume" in rows["authors"]["reason"]
    assert "needs a GPU" in rows["torch-fp16"]["reason"]
    assert "needs a GPU" in rows["torch-tf32"]["reason"]
    assert "reason" not in rows["torch"]
    assert rows["torch-bf16"]["median_s"] > 0
    text = format_sample(result)
    assert f"not timed: {rows['torch-fp16']['reason']}" in text


def test_the_memory_is_that_of_the_first_run():
    """Later runs of a captured loop allocate next to nothing."""
    sizes = iter([2**22])

    def run():
        torch.empty(next(sizes, 1), dtype=torch.uint8)
        return torch.ones(8)

    job = bench.Job("compact", SETTINGS, "cpu", 1, "dpmpp", 1, None, 7)
    row, _ = bench._row("torch", run, None, job)
    assert row["extra_bytes"] >= 2**22


def test_no_form_at_all_is_an_error():
    with pytest.raises(Mri2petError, match=r"no form could be timed: torch-fp16: .*needs a GPU"):
        bench_sample("compact", forms=("torch-fp16",), settings=SETTINGS, steps=1)


@pytest.mark.parametrize("wrong", [{"forms": ("quick",)}, {"batch": 0}, {"repeats": 2}])
def test_senseless_numbers_are_refused(wrong):
    with pytest.raises(UsageError):
        bench_sample("compact", **({"steps": 1} | wrong))


def test_what_is_timed_by_default(monkeypatch):
    everywhere = ("authors", "torch", "torch-bf16", "onnxruntime")
    monkeypatch.setattr("mri2pet.bench.sample.find_spec", lambda name: None)
    assert default_forms("cpu") == everywhere
    installable = {f for f in FORMS if f.startswith(("tensorrt", "openvino"))}
    assert set(default_forms("cuda")) == set(FORMS) - installable
    monkeypatch.setattr("mri2pet.bench.sample.find_spec", lambda name: name)
    assert default_forms("cpu") == (*everywhere, "openvino")
    assert set(default_forms("cuda:1")) == set(FORMS) - {"openvino"}


@pytest.mark.slow
def test_forms_apart_give_the_volumes_that_they_give_together():
    """One that cannot run is a row all the same, and does not lead the others."""
    forms = ("torch-fp16", "torch", "authors")
    result = bench_sample("compact", forms=forms, settings=SETTINGS, steps=1, apart=True)
    assert result["apart"]
    half, first, second = result["rows"]
    assert "needs a GPU" in half["reason"]
    assert first["relative_difference"] == 0
    assert 0 < second["relative_difference"] < 1e-4


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_openvino_gives_the_same_volume(preset, once):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    result = bench_sample(preset, forms=("torch", "openvino"), steps=2, **once)
    assert result["rows"][1]["relative_difference"] < 1e-4


def test_openvino_that_is_missing_is_a_row_with_its_reason(monkeypatch, once):
    """And nothing is exported for it."""
    monkeypatch.setattr("mri2pet.export.export_onnx", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    result = bench_sample("compact", forms=("torch", "openvino"), steps=2, **once)
    assert "OpenVINO is not installed" in result["rows"][1]["reason"]
