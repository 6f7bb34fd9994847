"""Which form of the ops runs: the native kernels, or plain torch. The one switch is here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mri2pet.errors import UsageError

Backend = Literal["auto", "native", "folded", "reference"]
ENVIRONMENT = "MRI2PET_OPS"
NATIVE_DEVICES = ("cpu", "cuda")
NOT_BUILT = "the native module is not built; install mri2pet with `pip install .`"


def _load() -> ModuleType | None:
    try:
        module = import_module("mri2pet._C")
    except ImportError:
        return None
    return module if hasattr(module, "linear_attention_forward") else None


def _checked(name: str) -> Backend:
    if name not in get_args(Backend):
        raise UsageError(f"ops.backend {name!r} is not one of {', '.join(get_args(Backend))}")
    if name == "native" and _NATIVE is None:
        raise UsageError(f"ops.backend 'native' cannot be used: {NOT_BUILT}")
    return name  # type: ignore[return-value]


_NATIVE = _load()
_HAS_CUDA = _NATIVE is not None and bool(_NATIVE.build_info()["cuda"]["enabled"])
_INSTRUCTION_SET = "" if _NATIVE is None else str(_NATIVE.build_info()["cpu"]["instruction_set"])
_backend: Backend = _checked(os.environ.get(ENVIRONMENT, "auto"))


def set_backend(name: str) -> None:
    """Choose the form of the ops in this process; the environment variable MRI2PET_OPS starts it.

    Args:
        name: "auto": the native kernels where they were built, on CPU and CUDA, else "folded".
            "native": the native kernels, or an error. "folded": plain torch with the attention's
            algebra folded (what exports are traced from). "reference": plain torch as the paper
            writes it (what the native kernels are compared with).

    Raises:
        UsageError: an unknown name, or "native" without the native module.
    """
    global _backend
    _backend = _checked(name)


def get_backend() -> Backend:
    """What `set_backend` was told."""
    return _backend


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """`set_backend` for the length of a block."""
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def chosen(op: str, x: Tensor) -> Literal["native", "folded", "reference"]:
    """The form of `op` that runs for its first argument x.

    Raises:
        UsageError: x is on a GPU and the native module was built without CUDA kernels.
    """
    if _backend in ("folded", "reference"):
        return _backend  # type: ignore[return-value]
    if _NATIVE is None or x.device.type not in NATIVE_DEVICES:
        return "folded"
    if x.device.type == "cuda" and not _HAS_CUDA:
        raise UsageError(
            f"{op}: x {tuple(x.shape)} is on {x.device}, but this mri2pet was built without CUDA "
            "kernels; install it again where nvcc is, or set ops.backend=folded"
        )
    return "native"


def native() -> ModuleType:
    """The native module.

    Raises:
        UsageError: it was not built.
    """
    if _NATIVE is None:
        raise UsageError(NOT_BUILT)
    return _NATIVE


def has_cuda() -> bool:
    """Whether the native module was built with CUDA kernels."""
    return _HAS_CUDA


def is_native() -> bool:
    """Whether the native kernels run on the CPU: they were built and not switched off."""
    return _NATIVE is not None and _backend in ("auto", "native")


def instruction_set() -> str:
    """The build of the CPU kernels that this processor runs: generic, avx2, avx512; "" for none."""
    return _INSTRUCTION_SET


def launch(op: str, params: Any, device: torch.device) -> None:
    """Runs a launcher of the native module on the current stream, with a workspace of its size.

    Raises:
        ValueError: what the launcher refuses. RuntimeError: no CUDA build, or a CUDA error.
    """
    module, cuda = native(), device.type == "cuda"
    stream = torch.cuda.current_stream(device).cuda_stream if cuda else 0
    threads = torch.get_num_threads()
    # The launcher asks the current device for its number of multiprocessors.
    with torch.cuda.device(device) if cuda else contextlib.nullcontext():
        params.use(0, 0, threads, stream)
        size = getattr(module, f"{op}_workspace")(params, cuda)
        workspace = torch.empty(size, dtype=torch.uint8, device=device)
        params.use(workspace.data_ptr(), size, threads, stream)
        getattr(module, op)(params, cuda)
