"""Two small models, as they come out of a training, and their exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mri2pet.checkpoint import Model, load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.nn import Network

SHAPE = (16, 32, 32)


def _model(folder: Path, **options: str) -> Model:
    torch.manual_seed(3)
    network = Network(ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE, **options))
    with torch.no_grad():  # norms that do something
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return load_model(save_model(folder, network, pet_mean=1.2, pet_std=0.3))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("models") / "concat"
    return _model(folder, prediction="v", cond="concat")


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return _model(tmp_path_factory.mktemp("models") / "embedding")


@pytest.fixture(scope="session")
def export(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mri2pet.export import export_onnx

    return export_onnx(model, tmp_path_factory.mktemp("exports") / "small", batch=2)
