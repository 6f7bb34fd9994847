"""An export in OpenVINO on the CPU: a rival to time, not an engine of `mri2pet synthesize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mri2pet.engines.exported import DENOISER, ENCODER
from mri2pet.engines.exported_engine import ExportedEngine
from mri2pet.errors import UsageError


class OpenVinoEngine(ExportedEngine):
    """An export folder in OpenVINO, float32, with as many threads as torch has.

    Args:
        folder: from `export_onnx`.

    Raises:
        ModelError: the export is incomplete or changed.
        UsageError: OpenVINO is not installed.
    """

    engine = "openvino"

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "cpu")
        self._denoiser = _compiled(self.export.file(DENOISER))
        self._encoder = _compiled(self.export.file(ENCODER))

    def _encode(self, mri: Tensor) -> Tensor:
        return _run(self._encoder, {"mri": mri})

    def _denoise(self, inputs: dict[str, Tensor]) -> Tensor:
        return _run(self._denoiser, inputs)


def load_openvino() -> Any:
    """The module.

    Raises:
        UsageError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise UsageError("OpenVINO is not installed: `pip install openvino`") from None
    return openvino


def _compiled(path: Path) -> Any:
    how = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        # What it computes with: without it a CPU that knows bfloat16 takes that.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return load_openvino().Core().compile_model(str(path), "CPU", how)


def _run(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    result = model({name: tensor.numpy() for name, tensor in inputs.items()})
    return torch.from_numpy(result[0].copy())
