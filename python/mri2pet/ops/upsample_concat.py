"""Trilinear upsampling of one volume, joined to another: how a level of the U-Net goes up.

The native form is for CUDA alone; on the CPU torch's own two calls are as fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.registration import operation, register_autocast
from mri2pet.ops.tensors import (
    dtype_name,
    memory_format,
    same_device,
    tensor3,
)

Size = tuple[int, int, int]


def reference(x: Tensor, skip: Tensor) -> Tensor:
    """The op as two plain torch calls; arguments as in `upsample_concat`."""
    x = F.interpolate(x, size=skip.shape[2:], mode="trilinear", align_corners=True)
    return torch.cat((skip, x.to(skip.dtype)), dim=1)


@operation("mri2pet::upsample_concat", devices="cuda", has_gradient=True)
def _forward(x: Tensor, skip: Tensor) -> Tensor:
    """x in the dtype of skip."""
    layout = memory_format(skip)
    skip, x = skip.contiguous(memory_format=layout), x.contiguous(memory_format=layout)
    y = _empty_result(x, skip)
    params = backend.native().UpsampleConcatForward(
        (skip.shape[0], *skip.shape[2:], *x.shape[2:], skip.shape[1], x.shape[1]),
        dtype_name("upsample_concat", "skip", skip),
        tensor3(skip, layout),
        tensor3(x, layout),
        tensor3(y, layout),
    )
    backend.launch("upsample_concat_forward", params, skip.device)
    return y


def _empty_result(x: Tensor, skip: Tensor) -> Tensor:
    shape = (skip.shape[0], skip.shape[1] + x.shape[1], *skip.shape[2:])
    return torch.empty(
        shape, dtype=skip.dtype, device=skip.device, memory_format=memory_format(skip)
    )


@operation("mri2pet::upsample_concat_backward", devices="cuda")
def _backward(grad_y: Tensor, coarse: list[int], channels: int) -> Tensor:
    """The gradient of x, of `channels` channels and `coarse` voxels along each axis."""
    layout = memory_format(grad_y)
    grad_y = grad_y.contiguous(memory_format=layout)
    grad_x = _empty_gradient(grad_y, coarse, channels)
    params = backend.native().UpsampleConcatBackward(
        (grad_y.shape[0], *grad_y.shape[2:], *coarse, grad_y.shape[1] - channels, channels),
        dtype_name("upsample_concat", "grad_y", grad_y),
        tensor3(grad_y, layout),
        tensor3(grad_x, layout),
    )
    backend.launch("upsample_concat_backward", params, grad_y.device)
    return grad_x


def _empty_gradient(grad_y: Tensor, coarse: list[int], channels: int) -> Tensor:
    shape, layout = (grad_y.shape[0], channels, *coarse), memory_format(grad_y)
    return torch.empty(shape, dtype=grad_y.dtype, device=grad_y.device, memory_format=layout)


@torch.library.register_fake(_forward)
def _forward_fake(x: Tensor, skip: Tensor) -> Tensor:
    return _empty_result(x, skip)


@torch.library.register_fake(_backward)
def _backward_fake(grad_y: Tensor, coarse: list[int], channels: int) -> Tensor:
    return _empty_gradient(grad_y, coarse, channels)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.x_shape = inputs[0].shape


def _autograd(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None]:
    channels, coarse = ctx.x_shape[1], list(ctx.x_shape[2:])
    grad_x = _backward(grad_y, coarse, channels) if ctx.needs_input_grad[0] else None
    skipped = grad_y.shape[1] - channels
    return grad_x, grad_y[:, :skipped] if ctx.needs_input_grad[1] else None


torch.library.register_autograd(_forward, _autograd, setup_context=_setup_context)


def _autocast(dtype: torch.dtype, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
    """The result has the dtype of skip, as in plain torch."""
    return x.to(skip.dtype), skip


register_autocast(_forward, _autocast)


def upsample_concat(x: Tensor, skip: Tensor) -> Tensor:
    """concat(skip, x upsampled to the volume of skip), trilinear with aligned corners.

    The gradient of x is gathered, not scattered: it is the same to the bit every time.

    Args:
        x: [B, C, k, i, j], the coarse volume.
        skip: [B, C', K, I, J].

    Returns:
        [B, C' + C, K, I, J] in the dtype of skip.

    Raises:
        ValueError: the shapes or devices do not fit.
    """
    if x.dim() != 5 or skip.dim() != 5 or x.shape[0] != skip.shape[0]:
        raise ValueError(
            f"upsample_concat: x {tuple(x.shape)} and skip {tuple(skip.shape)} do not fit"
        )
    same_device("upsample_concat", x, skip=skip)
    if skip.device.type == "cuda" and backend.chosen("upsample_concat", skip) == "native":
        return _forward(x.to(skip.dtype), skip)
    return reference(x, skip)
