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

Backend = Literal["auto", "native", "folded", "reference"]
ENVIRONMENT = "MRI2PET_OPS"
NATIVE_DEVICES = ("cpu", "cuda")


def _load() -> ModuleType | None:
    try:
        module = import_module("mri2pet._C")
    except ImportError:
        return None
    return module if hasattr(module, "linear_attention_forward") else None


def _checked(name: str) -> Backend:
    if name not in get_args(Backend):
        raise ValueError(f"ops backend {name!r} is not one of {', '.join(get_args(Backend))}")
    if name == "native" and _NATIVE is None:
        raise ValueError(
            "ops backend 'native' needs the native module; install mri2pet with `pip install .`"
        )
    return name  # type: ignore[return-value]


_NATIVE = _load()
_backend: Backend = _checked(os.environ.get(ENVIRONMENT, "auto"))


def set_backend(name: str) -> None:
    """Choose the form of the ops in this process; the environment variable MRI2PET_OPS starts it.

    Args:
        name: "auto": the native kernels where they were built, on CPU and CUDA, else "folded".
            "native": the native kernels, or an error. "folded": plain torch with the attention's
            algebra folded (what exports are traced from). "reference": plain torch as the paper
            writes it (what the native kernels are compared with).

    Raises:
        ValueError: an unknown name, or "native" without the native module.
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


def chosen(x: Tensor) -> Literal["native", "folded", "reference"]:
    """The form that runs for a tensor on the device of x."""
    if _backend in ("folded", "reference"):
        return _backend  # type: ignore[return-value]
    if _NATIVE is not None and x.device.type in NATIVE_DEVICES:
        return "native"
    return "folded"


def native() -> ModuleType:
    """The native module.

    Raises:
        RuntimeError: it was not built.
    """
    if _NATIVE is None:
        raise RuntimeError("the native module is not built; install mri2pet with `pip install .`")
    return _NATIVE


def launch(op: str, params: Any, device: torch.device) -> None:
    """Runs a launcher of the native module on the current stream, with a workspace of its size.

    Raises:
        ValueError: what the launcher refuses. RuntimeError: no CUDA build, or a CUDA error.
    """
    module, cuda = native(), device.type == "cuda"
    stream = torch.cuda.current_stream(device).cuda_stream if cuda else 0
    threads = torch.get_num_threads()
    params.use(0, 0, threads, stream)
    size = getattr(module, f"{op}_workspace")(params, cuda)
    workspace = torch.empty(size, dtype=torch.uint8, device=device)
    params.use(workspace.data_ptr(), size, threads, stream)
    with torch.cuda.device(device) if cuda else contextlib.nullcontext():
        getattr(module, op)(params, cuda)
