"""The exported network in ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.config import ModelConfig
from mri2pet.engines.base import Conditioned
from mri2pet.engines.exported import BIASES, DENOISER, ENCODER, read_export
from mri2pet.errors import ModelError, UsageError
from mri2pet.nn.time_embedding import time_embedding

EXTRA = "install it with `pip install 'mri2pet[onnx]'` (CPU) or `pip install onnxruntime-gpu`"


class OnnxRuntimeEngine:
    """An export folder as an engine. Inputs and outputs are bound to torch's memory, not copied.

    Args:
        folder: from `export_onnx`.
        device: "cpu" or "cuda".

    Raises:
        ModelError: the export is incomplete or changed, or ONNX Runtime cannot load it.
        UsageError: ONNX Runtime, or its CUDA provider, is not installed.
    """

    engine = "onnxruntime"

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self.export = read_export(folder)
        self.device = torch.device(device)
        self._config = self.export.config
        self._denoiser = _session(self.export.file(DENOISER), self.device)
        self._encoder = _session(self.export.file(ENCODER), self.device)
        state = safetensors.torch.load_file(self.export.file(BIASES), device=str(self.device))
        self._weight, self._bias = state["weight"], state["bias"]

    @property
    def precision(self) -> str:
        return self.export.precision

    @property
    def batch(self) -> int | None:
        return self.export.batch

    @property
    def name(self) -> str:
        return str(self.export.manifest["name"])

    @property
    def sha256(self) -> str:
        return str(self.export.manifest["model_sha256"])

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def pet_mean(self) -> float:
        return float(self.export.manifest["pet_mean"])

    @property
    def pet_std(self) -> float:
        return float(self.export.manifest["pet_std"])

    @property
    def provenance(self) -> dict[str, Any]:
        return dict(self.export.manifest.get("provenance", {}))

    def condition(self, mri: Tensor, timesteps: Tensor) -> Conditioned:
        mri = mri.to(self.device, torch.float32)
        embedding = torch.empty(1, self._weight.shape[1], device=self.device)
        self._run(self._encoder, {"mri": mri}, {"embedding": embedding})
        activated = F.silu(embedding + time_embedding(timesteps.to(self.device)))
        rows = F.linear(activated, self._weight, self._bias)
        inputs: dict[str, Tensor] = {}
        if self._config.cond == "concat":
            size = self._config.pet_shape
            grid = F.interpolate(mri, size=size, mode="trilinear", align_corners=False)
            inputs["mri_pet_grid"] = grid.expand(self.export.batch, -1, -1, -1, -1).contiguous()

        def denoise(x: Tensor, row: Tensor) -> Tensor:
            count = x.shape[0]
            if count > self.export.batch:
                raise UsageError(
                    f"this export takes {self.export.batch} volumes a call, not {count}"
                )
            output = torch.empty(self.export.batch, *x.shape[1:], device=self.device)
            bound = {"x_t": self._filled(x), "block_biases": self._filled(row), **inputs}
            self._run(self._denoiser, bound, {"output": output})
            return output[:count]

        return Conditioned(rows, denoise)

    def _filled(self, tensor: Tensor) -> Tensor:
        """The tensor with as many rows as the graph takes; missing ones are zero."""
        missing = self.export.batch - tensor.shape[0]
        tensor = tensor.to(self.device, torch.float32)
        if missing:
            tensor = torch.cat((tensor, tensor.new_zeros(missing, *tensor.shape[1:])))
        return tensor.contiguous()

    def _run(self, session: Any, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        binding = session.io_binding()
        kind, number = self.device.type, self.device.index or 0
        inputs = {name: tensor.contiguous() for name, tensor in inputs.items()}
        for name, tensor in inputs.items():
            shape, address = tuple(tensor.shape), tensor.data_ptr()
            binding.bind_input(name, kind, number, np.float32, shape, address)
        for name, tensor in outputs.items():
            shape, address = tuple(tensor.shape), tensor.data_ptr()
            binding.bind_output(name, kind, number, np.float32, shape, address)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        session.run_with_iobinding(binding)


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"the engine onnxruntime is not installed; {EXTRA}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    provider = "CPUExecutionProvider"
    if device.type == "cuda":
        provider = "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise UsageError(f"this ONNX Runtime has no CUDA provider; {EXTRA}")
    try:
        return onnxruntime.InferenceSession(path, options, providers=[provider])
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error})") from None
