"""A cohort packs into a small file that a training reads as the cohort itself."""

from __future__ import annotations

import io
import json
import sys
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import load_model


class Row:
    def __init__(self, number: int) -> None:
        self.name = f"sub-{number}"
        self.rng = np.random.default_rng(number)


class Cohort:
    """What packing asks of a cohort's cache: noise, of which 20 pairs train and 2 validate."""

    pet_mean, pet_std = 0.4, 0.5

    def __init__(self, mri_shape, pet_shape) -> None:
        self.arrays = {
            f"sub-{n}": (
                np.random.default_rng(n).random(mri_shape).astype(np.float16),
                (2 * np.random.default_rng(-n % 99).random(pet_shape)).astype(np.float16),
            )
            for n in range(22)
        }

    def rows(self, split):
        return [Row(n) for n in (range(20) if split == "train" else range(20, 22))]

    def mri(self, row):
        return self.arrays[row.name][0]

    def pet(self, row):
        return self.arrays[row.name][1]


@pytest.fixture
def cohort():
    return Cohort((16, 32, 32), (16, 32, 32))


def test_a_packed_pair_is_the_pair(load_tool, cohort):
    packing, training = load_tool("pack_cohort"), load_tool("train_packed")
    rows = [(split, row) for split in ("val", "train") for row in cohort.rows(split)]
    with np.load(io.BytesIO(packing.packed(cohort, rows))) as file:
        packed = {name: file[name] for name in file.files}
    train, val = (training.PackedPairs(packed, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (20, 2)
    mri, pet, name = train[7]
    assert name == "sub-7"
    assert mri.shape == pet.shape == (1, 16, 32, 32)
    assert mri.dtype == pet.dtype == torch.float32
    given = [torch.from_numpy(a.astype(np.float32))[None] for a in cohort.arrays["sub-7"]]
    assert (mri - given[0]).abs().max() <= 0.5 / 255 + 1e-6
    assert (pet - given[1]).abs().max() <= 0.5 / 256 + 1e-6
    assert (float(packed["mean"]), float(packed["std"])) == (0.4, 0.5)


def test_a_file_that_is_too_large_loses_training_pairs(
    load_tool, cohort, tmp_path, monkeypatch, capsys
):
    packing = load_tool("pack_cohort")
    monkeypatch.setattr(packing, "build_cache", lambda *a, **k: cohort)
    packing.main("cohort", str(tmp_path / "all.npz"))
    whole = (tmp_path / "all.npz").stat().st_size
    packing.main("cohort", str(tmp_path / "few.npz"), whole / 2e6)
    assert (tmp_path / "few.npz").stat().st_size <= whole / 2
    with np.load(tmp_path / "few.npz") as file:
        splits = file["split"].tolist()
    assert splits.count("val") == 2
    assert 5 <= splits.count("train") < 11
    assert "20 training and 2 validation pairs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_ends_in_its_time_with_a_model_and_pictures(load_tool, cohort, tmp_path, monkeypatch):
    packing, training = load_tool("pack_cohort"), load_tool("train_packed")
    monkeypatch.setattr(training, "ENDING_S", 1.0)
    ticks = count()  # a clock that a busy machine does not hurry
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: 0.25 * next(ticks)))
    rows = [(split, row) for split in ("val", "train") for row in cohort.rows(split)]
    (tmp_path / "cohort.npz").write_bytes(packing.packed(cohort, rows))
    words = ["cohort.npz", "model", "--seconds", "4", "--device", "cpu", "--json", "facts.json"]
    shapes = ["model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]"]
    small = ["training.batch_size=1", "training.micro_batch=1", "training.precision=fp32"]
    monkeypatch.setattr(sys, "argv", ["train_packed.py", *words, *shapes, *small])
    monkeypatch.chdir(tmp_path)
    training.main()
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["updates"] == facts["volumes"] == 6
    assert facts["planned_volumes"] == 6, "what fits, not the preset's 12,000"
    assert all(np.isfinite(v["val_loss"]) for v in facts["validations"])
    model = load_model(tmp_path / "model")
    assert model.provenance["volumes"] == facts["volumes"]
    assert (tmp_path / "model" / "samples.png").stat().st_size > 1000
