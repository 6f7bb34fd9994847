"""How tensors reach the native module: dtype names, accumulation types, layouts, addresses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DTYPES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.float64: "float64",
}


def dtype_name(op: str, argument: str, x: Tensor) -> str:
    """The dtype's name for the native module.

    Raises:
        TypeError: a dtype that no kernel takes.
    """
    if x.dtype not in DTYPES:
        raise TypeError(f"{op}: {argument} {tuple(x.shape)} of {x.dtype} is not supported")
    return DTYPES[x.dtype]


def same_device(op: str, x: Tensor, **others: Tensor | None) -> None:
    """Refuses tensors that are not where x is.

    Raises:
        ValueError: names the argument.
    """
    for name, other in others.items():
        if other is not None and other.device != x.device:
            raise ValueError(
                f"{op}: {name} {tuple(other.shape)} is on {other.device}, "
                f"x {tuple(x.shape)} on {x.device}"
            )


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float64 beside float64 activations, float32 beside all others."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def as_accumulated(weight: Tensor, x: Tensor) -> Tensor:
    """A weight as the kernels read it beside activations x: accumulation dtype, contiguous."""
    return weight.detach().to(accumulation_dtype(x)).contiguous()


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels-last for a volume [B, C, K, I, J] that is so and not contiguous; else contiguous."""
    if x.is_contiguous() or x.dim() != 5:
        return torch.contiguous_format
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format


def empty_as(x: Tensor) -> Tensor:
    """An uninitialised tensor of the shape and layout of x."""
    return torch.empty_like(x, memory_format=memory_format(x))


def tensor3(x: Tensor | None, layout: torch.memory_format) -> tuple[int, int, int, int]:
    """Address and strides of x as [B, C, N]; x is dense in `layout`. Zeros for None."""
    if x is None:
        return (0, 0, 0, 0)
    channels, voxels = x.shape[1], math.prod(x.shape[2:])
    if layout == torch.channels_last_3d:
        return (x.data_ptr(), channels * voxels, 1, channels)
    return (x.data_ptr(), channels * voxels, voxels, 1)
