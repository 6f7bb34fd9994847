"""The real TensorRT on a real GPU."""

from __future__ import annotations

import pytest
import torch

from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.engines.sampling import sample
from mri2pet.engines.tensorrt_engine import TensorRtEngine
from mri2pet.nn import Network

SHAPE = (16, 32, 32)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-4), ("fp16", 3e-2)])
def test_same_seed_same_volumes(tmp_path, precision, limit):
    pytest.importorskip("tensorrt")
    pytest.importorskip("onnx")
    from mri2pet.export import export_tensorrt

    torch.manual_seed(5)
    network = Network(ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE, cond="concat"))
    model = load_model(save_model(tmp_path / "model", network, pet_mean=1.2, pet_std=0.3))
    engine = TensorRtEngine(export_tensorrt(model, tmp_path / "export", precision=precision))
    for person in (1, 2):
        mri = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(person))
        got, wanted = (sample(which, mri, samples=2, steps=6) for which in (engine, model))
        assert (got.cpu() - wanted).norm() / wanted.norm() < limit
    assert all(loop.works for loop in engine.loops.made.values())
