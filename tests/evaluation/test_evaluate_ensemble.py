"""Models that take turns are evaluated as one, and the folder says which they were."""

from __future__ import annotations

import json

import pytest
import torch

from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.errors import UsageError
from mri2pet.evaluation.evaluate import evaluate
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.settings import Sampling
from mri2pet.nn import Network

from .conftest import MRI_SHAPE, PET_SHAPE


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    torch.manual_seed(1)
    config = ModelConfig(mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE, prediction="v", cond="concat")
    folder = tmp_path_factory.mktemp("models") / "other"
    return save_model(folder, Network(config), pet_mean=0.7, pet_std=0.4)


def test_an_ensemble_is_evaluated_and_named(
    model_folder, other_folder, cohort_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(Rivals, "warped_cohort_mean", lambda self, mri: self.mean_pet)
    options = {"data": cohort_root, "split": "train", "limit": 1, "device": "cpu"}
    drawn = {}
    for name, model in (
        ("first", model_folder),
        ("second", other_folder),
        ("both", [model_folder, other_folder]),
    ):
        sampling = Sampling(samples=3, steps=2, batch=1)
        found = evaluate(model, out=tmp_path / name, sampling=sampling, **options)
        (record,) = (tmp_path / name / "subjects").glob("*.json")
        drawn[name] = json.loads(record.read_text())["drawn"]["cortex"]
    first, second = drawn["first"], drawn["second"]
    assert drawn["both"] == [first[0], second[1], first[2]]
    settings = json.loads((tmp_path / "both" / "settings.json").read_text())
    hashes = [load_model(folder).sha256 for folder in (model_folder, other_folder)]
    assert [member["sha256"] for member in settings["members"]] == hashes
    assert settings["ablation"] == "ensemble of 2"
    assert "| ensemble of 2: one sample |" in found.table
    assert f"other (SHA-256 {hashes[1][:12]})" in found.table
    assert "members" not in json.loads((tmp_path / "first" / "settings.json").read_text())
    turned = [other_folder, model_folder]
    with pytest.raises(UsageError, match="another members, model, model_sha256"):
        evaluate(turned, out=tmp_path / "both", sampling=Sampling(samples=3, steps=2), **options)
    with pytest.raises(UsageError, match="samples must be at least 2"):
        evaluate(turned, out=tmp_path / "new", sampling=Sampling(samples=1), **options)
