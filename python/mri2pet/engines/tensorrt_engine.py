"""The exported network in TensorRT, on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mri2pet.diffusion.graphed_loop import Loops
from mri2pet.engines.exported import DENOISER, ENCODER
from mri2pet.engines.exported_engine import ExportedEngine
from mri2pet.engines.tensorrt_calls import ALIGNMENT, LoadedPlan, bind, execute, load_plan
from mri2pet.engines.tensorrt_plans import (
    import_tensorrt,
    passed_self_test,
    read_plan,
    target_of,
)
from mri2pet.errors import ModelError


class TensorRtEngine(ExportedEngine):
    """The plans of an export folder as an engine.

    All device memory is torch's: inputs, outputs, and the scratch memory that both plans share,
    since they never run at the same time. Addresses never change, so that all steps of the loop
    are replays of one CUDA graph.

    Args:
        folder: from `export_tensorrt`.
        device: "cuda", or "cuda:N".
        tested: refuse plans that have not passed their self-test on this GPU. The self-test
            itself says False.

    Raises:
        ModelError: no plan for this GPU and TensorRT, one that is changed, untested or does not
            load; names the call that failed.
        UsageError: TensorRT or a GPU is missing.
    """

    engine = "tensorrt"

    def __init__(self, folder: str | Path, device: str = "cuda", *, tested: bool = True) -> None:
        tensorrt = import_tensorrt()
        super().__init__(folder, device)
        self.target = target_of(tensorrt, self.device)
        plans = {name: read_plan(self.export, self.target, name) for name in (ENCODER, DENOISER)}
        if tested and not passed_self_test(self.export, self.target):
            raise ModelError(
                f"{folder}: its plans for {self.target} have not passed a self-test here; "
                f"run `mri2pet export verify {folder} --engine tensorrt`"
            )
        with torch.cuda.device(self.device):
            loaded = {name: load_plan(tensorrt, plan) for name, plan in plans.items()}
        size = max(plan.scratch_bytes for plan in loaded.values())
        self._scratch = _aligned((size,), torch.uint8, self.device)
        self._graphs = {
            name: _Graph(plan, self._scratch, self.device) for name, plan in loaded.items()
        }
        # TensorRT waits for the whole device on the default stream.
        self._stream = torch.cuda.Stream(self.device)
        self.loops = Loops()

    def _encode(self, mri: Tensor) -> Tensor:
        return self._run(ENCODER, {"mri": mri}).clone()

    def _denoise(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._run(DENOISER, inputs)

    def _run(self, name: str, inputs: dict[str, Tensor]) -> Tensor:
        """The output's own memory, which the next call overwrites."""
        current = torch.cuda.current_stream(self.device)
        if torch.cuda.is_current_stream_capturing():
            return self._graphs[name](inputs, current.cuda_stream)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            output = self._graphs[name](inputs, self._stream.cuda_stream)
        current.wait_stream(self._stream)
        return output


class _Graph:
    """One plan with its memory."""

    def __init__(self, plan: LoadedPlan, scratch: Tensor, device: torch.device) -> None:
        self.plan = plan
        self.memory = {t.name: _aligned(t.shape, torch.float32, device) for t in plan.tensors}
        self.inputs = {t.name for t in plan.tensors if t.is_input}
        (self.output,) = (t.name for t in plan.tensors if not t.is_input)
        addresses = {name: tensor.data_ptr() for name, tensor in self.memory.items()}
        bind(plan, addresses, scratch=scratch.data_ptr())

    def __call__(self, inputs: dict[str, Tensor], stream: int) -> Tensor:
        if set(inputs) != self.inputs:
            raise ModelError(f"TensorRT: the plan takes {sorted(self.inputs)}, not {[*inputs]}")
        for name, tensor in inputs.items():
            self.memory[name].copy_(tensor)
        execute(self.plan, stream)
        return self.memory[self.output]


def _aligned(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros at a multiple of `ALIGNMENT` bytes."""
    count = torch.Size(shape).numel()
    extra = ALIGNMENT // dtype.itemsize
    memory = torch.zeros(count + extra, dtype=dtype, device=device)
    skip = (-memory.data_ptr() % ALIGNMENT) // dtype.itemsize
    return memory[skip : skip + count].reshape(shape)
