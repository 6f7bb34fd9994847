"""GroupNorm(1) whose statistics `conv3d` has left, with residual, channel bias and GELU; on CUDA.

For inference in half precision: `group_norm_gelu` without its pass for the statistics, and with a
residual that may lie in two tensors.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.conv3d import DTYPES, InputNorm, merge
from mri2pet.ops.registration import operation
from mri2pet.ops.tensors import dtype_name, same_device

_LAST = torch.channels_last_3d


def reference(
    x: Tensor,
    norm: InputNorm,
    residual: Tensor | None = None,
    residual2: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
) -> Tensor:
    """The op as plain torch calls; arguments as in `apply_norm`."""

    def wide(values: Tensor) -> Tensor:
        return values.to(x.dtype).reshape(*values.shape, *([1] * (5 - values.dim())))

    mean, variance = (wide(v) for v in merge(norm.parts))
    scale, shift = (wide(v[None]) for v in (norm.weight, norm.bias))
    y = (x - mean) / (variance + norm.eps).sqrt() * scale + shift
    if residual is not None:
        y = y + (residual if residual2 is None else torch.cat((residual, residual2), dim=1))
    if channel_bias is not None:
        y = y + wide(channel_bias)
    return F.gelu(y) if gelu else y


@operation("mri2pet::apply_norm", devices="cuda")
def _forward(
    x: Tensor,
    parts: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    residual2: Tensor | None,
    channel_bias: Tensor | None,
    gelu: bool,
    eps: float,
) -> Tensor:
    x = x.contiguous(memory_format=_LAST)
    first, second = (
        None if r is None else r.to(x.dtype).contiguous(memory_format=_LAST)
        for r in (residual, residual2)
    )
    floats = tuple(t.float().contiguous() for t in (parts, weight, bias))
    more = None if channel_bias is None else channel_bias.float().contiguous()
    y = torch.empty_like(x, memory_format=_LAST)
    params = backend.native().ApplyNorm(
        (x.shape[0], x.shape[1], math.prod(x.shape[2:])),
        dtype_name("apply_norm", "x", x),
        gelu,
        eps,
        x.data_ptr(),
        (floats[0].data_ptr(), parts.shape[1]),
        floats[1].data_ptr(),
        floats[2].data_ptr(),
        0 if first is None else first.data_ptr(),
        (0, 0) if second is None else (second.data_ptr(), second.shape[1]),
        0 if more is None else more.data_ptr(),
        y.data_ptr(),
    )
    backend.launch("apply_norm", params, x.device)
    return y


@torch.library.register_fake(_forward)
def _forward_fake(x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x, memory_format=_LAST)


def apply_norm(
    x: Tensor,
    norm: InputNorm,
    residual: Tensor | None = None,
    residual2: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
) -> Tensor:
    """act((x − mean) / √(variance + eps) · weight + bias + residual + channel_bias), no gradient.

    Args:
        x: float16 or bfloat16 [B, C, K, I, J] on CUDA; C is a multiple of 8, at most 128.
        norm: the statistics of x, weight and bias.
        residual: [B, C, K, I, J], or its first channels where residual2 has the others.
        channel_bias: [B, C].
        gelu: apply the GELU at the end.

    Returns:
        [B, C, K, I, J], channels-last.

    Raises:
        ValueError: the shapes or devices do not fit.
        TypeError: another dtype.
        RuntimeError: no CUDA build, or a CUDA error.
    """
    if x.dim() != 5 or norm.weight.shape != (x.shape[1],) or norm.bias.shape != (x.shape[1],):
        raise ValueError(f"apply_norm: weight or bias do not fit x {tuple(x.shape)}")
    if x.dtype not in DTYPES:
        raise TypeError(f"apply_norm: x {tuple(x.shape)} of {x.dtype} is not float16 or bfloat16")
    if norm.parts.dim() != 3 or (norm.parts.shape[0], norm.parts.shape[2]) != (len(x), 3):
        raise ValueError(f"apply_norm: parts {tuple(norm.parts.shape)} are not [{len(x)}, P, 3]")
    pieces = [r for r in (residual, residual2) if r is not None]
    if pieces and (
        sum(r.shape[1] for r in pieces) != x.shape[1]
        or any((len(r), *r.shape[2:]) != (len(x), *x.shape[2:]) for r in pieces)
        or residual is None
    ):
        shapes = [tuple(r.shape) for r in pieces]
        raise ValueError(f"apply_norm: residual {shapes} does not fit x {tuple(x.shape)}")
    if channel_bias is not None and channel_bias.shape != x.shape[:2]:
        raise ValueError(f"apply_norm: channel_bias {tuple(channel_bias.shape)} does not fit x")
    same_device(
        "apply_norm", x, parts=norm.parts, weight=norm.weight, bias=norm.bias, residual=residual,
        residual2=residual2, channel_bias=channel_bias,
    )  # fmt: skip
    return _forward(
        x, norm.parts, norm.weight, norm.bias, residual, residual2, channel_bias, gelu, norm.eps
    )
