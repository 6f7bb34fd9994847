"""A model gets the linear denoiser that a training on the same people would give it."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.nn import Network

SHAPE = (16, 32, 32)


class Row:
    def __init__(self, number: int) -> None:
        self.name, self.number = f"sub-{number}", number
        self.subject = f"sub-{number % 70}"  # ten have a second scan


class Cohort:
    """80 pairs whose PETs differ by a skewed level, and one for validation."""

    def rows(self, split):
        return [Row(n) for n in (range(80) if split == "train" else [80])]

    def mri(self, row):
        return np.random.default_rng(row.number).random(SHAPE).astype(np.float16)

    def pet(self, row):
        rng = np.random.default_rng(1000 + row.number)
        level = rng.normal(1.4, 0.3) if row.number % 4 == 0 else rng.normal(0.6, 0.05)
        return (level + 0.02 * rng.random(SHAPE)).astype(np.float16)


@pytest.fixture
def cohort():
    return Cohort()


@pytest.fixture
def old(tmp_path):
    """A model in half precision, as it was before its denoiser was fitted to this cohort."""
    torch.manual_seed(0)
    config = ModelConfig(
        mri_shape=SHAPE, pet_shape=SHAPE, prediction="v", cond="concat", linear_components=1
    )
    network = Network(config)
    network.linear.fit(*torch.rand(2, 20, 16384))
    known = {"training_pairs": 80, "target": "pet", "config": {"data": {"registration": "truth"}}}
    options = {"pet_mean": 0.8, "pet_std": 0.4, "provenance": known, "dtype": torch.float16}
    return save_model(tmp_path / "old", network, **options)


@pytest.fixture
def run(load_tool, cohort, monkeypatch):
    tool = load_tool("refit_linear_denoiser")

    def built(data, **options):
        assert options["registration"] == "truth"
        assert options["mri_shape"] == SHAPE
        return cohort

    monkeypatch.setattr(tool, "build_cache", built)

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["refit_linear_denoiser.py", *map(str, arguments)])
        return tool.main()

    return main


def test_the_denoiser_is_that_of_the_training_people_and_the_rest_stays(
    run, old, cohort, tmp_path, capsys
):
    out = tmp_path / "new"
    assert run(old, "--data", "people.tsv", "-o", out) == 0
    before, after = load_model(old), load_model(out)
    wanted = Network(before.config).linear
    pets, mris = (
        torch.stack([torch.from_numpy(of(r).astype("f4")).flatten() for r in cohort.rows("train")])
        for of in (cohort.pet, cohort.mri)
    )
    wanted.fit((pets - 0.8) / 0.4, mris, [r.subject for r in cohort.rows("train")])
    assert wanted.mixture[0, 0, 0] > math.log(0.6)  # a mixture, not one normal distribution
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(after.diffusion.linear.state_dict()[name], value)
    others = {k: v for k, v in before.network.state_dict().items() if "linear." not in k}
    assert all(torch.equal(after.network.state_dict()[k], v) for k, v in others.items())
    assert (after.pet_mean, after.pet_std) == (0.8, 0.4)
    assert after.provenance["linear_denoiser"]["pairs"] == 80
    assert after.provenance["linear_denoiser"]["of_model"] == before.sha256
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (old, out)]
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-3)  # half precision
    assert capsys.readouterr().out.startswith("direction 1, an MRI predicts d: 0.7")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"linear_components": 0}, "has no linear denoiser"),
        ({"training_pairs": 79}, "80 training pairs"),
        ({"target": "stylized"}, "not PETs"),
    ],
)
def test_what_cannot_be_fitted_anew_is_refused(run, old, tmp_path, capsys, change, words):
    model = load_model(old)
    known, network = {**model.provenance, **change}, model.diffusion
    if "linear_components" in change:
        network = Network(model.config.model_copy(update=change))
    other = save_model(tmp_path / "other", network, pet_mean=0.8, pet_std=0.4, provenance=known)
    assert run(other, "--data", "people.tsv", "-o", tmp_path / "new") in (1, 2)
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
