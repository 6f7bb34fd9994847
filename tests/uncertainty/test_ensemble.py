"""A calibration of an ensemble holds for its models in their order, and for nothing else."""

from __future__ import annotations

import json

import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig
from mri2pet.engines import load_engine
from mri2pet.engines.ensemble import described_members
from mri2pet.errors import ModelError
from mri2pet.evaluation.evaluate import Evaluation
from mri2pet.nn import Network
from mri2pet.uncertainty import calibrate as module
from mri2pet.uncertainty.calibrate import calibrate
from mri2pet.uncertainty.calibration import read_calibration, trained_on_simulated
from mri2pet.uncertainty.results import ResultUncertainty

SETTINGS = {"sampler": "dpmpp", "steps": 25, "samples": 4}


@pytest.fixture
def folders(tmp_path):
    """Three models; the last one learnt from simulated people."""
    made = []
    for seed, provenance in enumerate(({}, {}, {"simulated": True})):
        torch.manual_seed(seed)
        config = ModelConfig(mri_shape=(16, 32, 32), pet_shape=(16, 32, 32))
        folder = tmp_path / f"m{seed}"
        save_model(folder, Network(config), pet_mean=1.2, pet_std=0.3, provenance=provenance)
        made.append(folder)
    return made


def calibrated(models, evaluated, tmp_path, monkeypatch):
    network = load_engine(models)
    settings = {"model_sha256": network.sha256, "members": described_members(network)}
    evaluation = Evaluation(evaluated(**settings), {}, "", {})
    monkeypatch.setattr(module, "evaluate", lambda model, **options: evaluation)
    return calibrate(models, data=tmp_path / "lab", out=tmp_path / "out")


def uncertainty(models):
    network = load_engine(models)
    return ResultUncertainty.of(models, network.sha256, network.provenance, **SETTINGS)


def test_a_calibration_is_bound_to_the_models_in_their_order(
    folders, evaluated, tmp_path, monkeypatch
):
    a, b, c = folders
    result = calibrated([a, b], evaluated, tmp_path, monkeypatch)
    sha256 = load_engine([a, b]).sha256
    assert result.path == a / f"calibration-{sha256[:12]}.json"
    assert [m.name for m in result.calibration.members] == ["m0", "m1"]
    assert read_calibration([a, b], sha256) == result.calibration
    assert uncertainty([a, b]).note.startswith("90 % interval, calibrated on 24")
    for others in ([a], a, [a, c], [b, a], [a, b, c]):
        assert uncertainty(others).calibration is None
    moved = a / f"calibration-{load_engine([a, c]).sha256[:12]}.json"
    result.path.rename(moved)
    with pytest.raises(ModelError, match="was made for another model"):
        uncertainty([a, c])


def test_a_single_model_s_calibration_stays_its_own(folders, evaluated, tmp_path, monkeypatch):
    a, b, _ = folders
    result = calibrated([a], evaluated, tmp_path, monkeypatch)
    assert result.path == a / "calibration.json"
    assert result.calibration.members == []
    assert uncertainty(a).calibration is not None
    assert uncertainty([a, b]).calibration is None
    assert json.loads(result.path.read_text())["members"] == []


def test_one_member_of_simulated_people_is_told(folders):
    assert not trained_on_simulated(load_engine(folders[:2]).provenance)
    assert trained_on_simulated(load_engine(folders[1:]).provenance)
