"""The model that Triton's Python backend runs: an MRI in model space in, PET volumes in SUVR out.

`to_triton.export_triton` copies this file into the repository as `model.py`. It needs mri2pet in
the Python of the backend, and Triton 23.10 or later.
"""

from __future__ import annotations

import json
import traceback
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from mri2pet.devices import choose_device
from mri2pet.engines import Engine, load_engine
from mri2pet.engines.mean import drawn_in_suvr
from mri2pet.engines.sampling import sample
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.memory import explained, sampling_plan

EXPORT = "export"
# A model space MRI lies in [0, 1]; more than rounding outside of it was never scaled.
RANGE_TOLERANCE = 1e-3


class TritonPythonModel:
    """One instance: a process of its own, with one engine that stays warm.

    Inputs: `MRI` float32 [1, K, I, J] in model space, in [0, 1]; optional, each [1]: `SEED` uint32,
    `SUBJECT` uint64 (both 0 without) and `SAMPLES` uint32. Outputs: `PET` float32 [S, K, I, J]
    and their `MEAN` [K, I, J] (`engines.mean`), SUVR on the model's PET grid.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the engine and evaluates it once; only then is the model ready.

        Raises:
            TritonModelException: the export is incomplete or changed, an engine or a device is
                missing, or the evaluation gives no numbers.
        """
        try:
            config = json.loads(args["model_config"])["parameters"]
            parameters = {name: value["string_value"] for name, value in config.items()}
            self.samples = int(parameters["samples"])
            self.max_samples = int(parameters["max_samples"])
            self.steps = int(parameters["steps"])
            self.sampler = parameters["sampler"]
            if int(parameters["threads"]):
                torch.set_num_threads(int(parameters["threads"]))
            folder = Path(args["model_repository"]) / args["model_version"] / EXPORT
            self.engine: Engine | None = load_engine(
                folder, engine=parameters["engine"], device=_device(args)
            )
            self._draw(torch.zeros(1, 1, *self.engine.config.mri_shape), samples=1, steps=1)
        except (Mri2petError, KeyError, ValueError) as error:
            raise pb_utils.TritonModelException(f"mri2pet cannot start: {error}") from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for every request; what is wrong with one stays its own."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Gives the engine's memory back."""
        self.engine = None

    def _respond(self, request: Any) -> Any:
        try:
            drawn = self._drawn(request)
        except _Cancelled:
            return _failure("cancelled by the client", pb_utils.TritonError.CANCELLED)
        except (InputError, UsageError) as error:
            return _failure(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            pb_utils.Logger.log_error(traceback.format_exc())
            return _failure(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        outputs = {"PET": drawn.samples, "MEAN": drawn.mean}
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor(name, np.ascontiguousarray(array, dtype=np.float32))
                for name, array in outputs.items()
            ]
        )

    def _drawn(self, request: Any) -> Drawn:
        assert self.engine is not None
        mri = _mri(request, self.engine.config.mri_shape)
        samples = _number(request, "SAMPLES", np.uint32, self.samples)
        if not 1 <= samples <= self.max_samples:
            raise UsageError(f"SAMPLES must lie in 1 … {self.max_samples}, not {samples}")

        def on_step(done: int, of: int) -> None:
            if request.is_cancelled():
                raise _Cancelled

        volumes = self._draw(
            mri,
            samples=samples,
            steps=self.steps,
            seed=_number(request, "SEED", np.uint32, 0),
            subject=_number(request, "SUBJECT", np.uint64, 0),
            on_step=on_step,
        )
        with self._explained():
            return drawn_in_suvr(self.engine, mri, volumes[None])[0]

    def _draw(self, mri: torch.Tensor, **options: Any) -> torch.Tensor:
        """Samples of an MRI, standardised, [S, 1, K, I, J].

        Raises:
            Mri2petError: out of memory, or volumes that hold something else than numbers.
        """
        engine = self.engine
        assert engine is not None
        with self._explained():
            drawn = sample(engine, mri, sampler=self.sampler, batch=engine.batch or 1, **options)
        if not torch.isfinite(drawn * engine.pet_std + engine.pet_mean).all():
            raise Mri2petError("the engine gave values that are no numbers; verify the export")
        return drawn

    def _explained(self) -> AbstractContextManager[None]:
        engine = self.engine
        assert engine is not None
        plan = partial(sampling_plan, engine.config, str(engine.device))
        return explained(plan, engine.batch or 1)


class _Cancelled(Exception):
    """The client no longer waits."""


def _device(args: dict[str, str]) -> str:
    """Where an instance runs, as its instance group says.

    Raises:
        UsageError: another kind than CPU and GPU, or no GPU is there.
    """
    kind = args["model_instance_kind"]
    if kind == "CPU":
        return "cpu"
    if kind != "GPU":
        raise UsageError(f"instance_group kind {kind}: choose KIND_CPU or KIND_GPU")
    return f"{choose_device('cuda')}:{args['model_instance_device_id']}"


def _mri(request: Any, shape: tuple[int, int, int]) -> torch.Tensor:
    """A copy of the request's MRI, [1, 1, K, I, J]: Triton takes its memory back.

    Raises:
        InputError: missing, of another type or shape, not finite, not in [0, 1], or empty.
    """
    tensor = pb_utils.get_input_tensor_by_name(request, "MRI")
    if tensor is None:
        raise InputError("MRI is missing")
    array = tensor.as_numpy()
    if array.dtype != np.float32:
        raise InputError(f"MRI is {array.dtype}, not float32")
    if array.shape != (1, *shape):
        raise InputError(f"MRI has the shape {array.shape}, not {(1, *shape)}")
    if not np.isfinite(array).all():
        raise InputError("MRI holds values that are no numbers")
    low, high = float(array.min()), float(array.max())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise InputError(
            f"MRI reaches from {low:.3g} to {high:.3g}, not from 0 to 1; send what "
            "mri2pet.preprocess gives"
        )
    if high <= 0:
        raise InputError("MRI is 0 everywhere")
    return torch.from_numpy(array.copy())[None]


def _number(request: Any, name: str, dtype: type[np.unsignedinteger[Any]], default: int) -> int:
    """An optional input of one whole number.

    Raises:
        InputError: of another type, or not one number.
    """
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    array = tensor.as_numpy()
    if array.dtype != dtype or array.size != 1:
        raise InputError(
            f"{name} is {array.dtype} of shape {array.shape}, not one {np.dtype(dtype)}"
        )
    return int(array.reshape(-1)[0])


def _failure(message: str, code: Any) -> Any:
    error = pb_utils.TritonError(f"mri2pet: {message}", code)
    return pb_utils.InferenceResponse(output_tensors=[], error=error)
