"""The exported network in ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mri2pet.engines.exported import DENOISER, ENCODER
from mri2pet.engines.exported_engine import ExportedEngine
from mri2pet.errors import ModelError, UsageError

EXTRA = "install it with `pip install 'mri2pet[onnx]'` (CPU) or `pip install onnxruntime-gpu`"
# Float32 is not rounded to TF32, ONNX Runtime's default.
CUDA_OPTIONS = {"use_tf32": "0"}
# One CUDA graph an evaluation. It needs addresses that never change, which `_Graph` gives.
CUDA_GRAPH = {"enable_cuda_graph": "1"}
# Every operator of an export has a CUDA kernel from here on (`export.policy.KERNELS`).
FIRST_CUDA_VERSION = "1.20"


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, which sends no word to its makers unless the environment says so.

    Its wheels report usage over the network, under an id that they keep in the home directory,
    and complain on stderr where there is none. They read ORT_DISABLE_TELEMETRY when imported.

    Raises:
        ImportError: it is not installed, or cannot be loaded.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


class OnnxRuntimeEngine(ExportedEngine):
    """An export folder as an engine. Inputs and outputs are bound to torch's memory, not copied
    through ONNX Runtime's; on CUDA an evaluation is one CUDA graph.

    Args:
        folder: from `export_onnx`.
        device: "cpu" or "cuda".

    Raises:
        ModelError: the export is incomplete or changed, or ONNX Runtime cannot load it.
        UsageError: ONNX Runtime, or its CUDA provider, is not installed; or it would compute a
            part of the network on the CPU.
    """

    engine = "onnxruntime"

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        super().__init__(folder, device)
        self._denoiser = _Graph(self.export.file(DENOISER), self.device)
        self._encoder = _Graph(self.export.file(ENCODER), self.device)

    def _encode(self, mri: Tensor) -> Tensor:
        return self._encoder({"mri": mri}).clone()

    def _denoise(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._denoiser(inputs)


class _Graph:
    """One graph, its inputs and its output in memory of their own that stays where it is."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.device = device
        self.session = _session(path, device)
        self.inputs = {value.name: self._memory(value) for value in self.session.get_inputs()}
        (output,) = self.session.get_outputs()
        self.output = self._memory(output)
        self.binding = self.session.io_binding()
        kind, number = device.type, device.index or 0
        for name, tensor in self.inputs.items():
            where = (kind, number, np.float32, tuple(tensor.shape), tensor.data_ptr())
            self.binding.bind_input(name, *where)
        where = (kind, number, np.float32, tuple(self.output.shape), self.output.data_ptr())
        self.binding.bind_output(output.name, *where)

    def _memory(self, value: Any) -> Tensor:
        return torch.zeros(*value.shape, device=self.device)

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        """The output; the next call overwrites it."""
        for name, tensor in inputs.items():
            self.inputs[name].copy_(tensor)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.session.run_with_iobinding(self.binding)
        return self.output


def _session(path: Path, device: torch.device) -> Any:
    try:
        onnxruntime = load_onnxruntime()
    except ImportError:
        raise UsageError(f"the engine onnxruntime is not installed; {EXTRA}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3

    def load(provider: Any) -> Any:
        # Without its own second try on the CPU.
        how = {"providers": [provider], "enable_fallback": False}
        return onnxruntime.InferenceSession(path, options, **how)

    try:
        if device.type != "cuda":
            return load("CPUExecutionProvider")
        provider = "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise UsageError(f"this ONNX Runtime has no CUDA provider; {EXTRA}")
        # A node without a CUDA kernel is an error: 268 MB would travel to the CPU and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        place = CUDA_OPTIONS | {"device_id": str(device.index or 0)}
        try:
            return load((provider, place | CUDA_GRAPH))
        except Exception as error:
            if _falls_back(error):
                raise UsageError(
                    f"ONNX Runtime {onnxruntime.__version__} would compute a part of {path.name} "
                    f"on the CPU: install onnxruntime-gpu {FIRST_CUDA_VERSION} or newer, and the "
                    "CUDA and cuDNN that it was built for"
                ) from None
            warnings.warn(f"ONNX Runtime makes no CUDA graph of {path.name}: {error}", stacklevel=2)
            return load((provider, place))
    except UsageError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error})") from None


def _falls_back(error: Exception) -> bool:
    """Whether a session was refused because some of its nodes would run on the CPU."""
    return "fallback to CPU" in str(error)
