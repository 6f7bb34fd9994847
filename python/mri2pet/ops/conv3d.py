"""The 3 × 3 × 3 convolution of few channels, on CUDA in half precision, for inference alone.

`norm` applies the GroupNorm(1) and GELU of the input while it is read, from statistics that the
convolution before has written; `x2` is read in place of a concatenation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.registration import operation
from mri2pet.ops.tensors import dtype_name, same_device

MOST_CHANNELS = 48
DTYPES = (torch.float16, torch.bfloat16)
_LAST = torch.channels_last_3d


class InputNorm(NamedTuple):
    """GroupNorm(1) and GELU of a convolution's input.

    Attributes:
        parts: float32 [B, P, 3], mean, sum of squared deviations and number of values of every
            part of the input, from `conv3d(…, statistics=True)`.
        weight, bias: [C].
    """

    parts: Tensor
    weight: Tensor
    bias: Tensor
    eps: float = 1e-5


def reference(
    x: Tensor,
    weight: Tensor,
    x2: Tensor | None = None,
    norm: InputNorm | None = None,
) -> Tensor:
    """The op as plain torch calls, with the norm's mean and variance from its parts."""
    if x2 is not None:
        x = torch.cat((x, x2), dim=1)
    if norm is not None:
        mean, variance = (v.to(x.dtype).reshape(-1, 1, 1, 1, 1) for v in merge(norm.parts))
        affine = (norm.weight, norm.bias)
        scale, shift = (t.to(x.dtype).reshape(1, -1, 1, 1, 1) for t in affine)
        x = F.gelu((x - mean) / (variance + norm.eps).sqrt() * scale + shift)
    return F.conv3d(x, weight, padding=1)


def merge(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each sample, float64 [B], from its parts [B, P, 3]."""
    mean, squares, count = parts.double().unbind(-1)
    total = count.sum(1, keepdim=True)
    centre = (mean * count).sum(1, keepdim=True) / total
    variance = (squares + count * (mean - centre).square()).sum(1, keepdim=True) / total
    return centre[:, 0], variance[:, 0]


@operation("mri2pet::conv3d", devices="cuda")
def _forward(
    x: Tensor,
    weight: Tensor,
    x2: Tensor | None,
    parts: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    statistics: bool,
    variant: int,
    planes: int,
) -> tuple[Tensor, Tensor]:
    """y, and the parts of y's statistics, [B, P, 3]; P is 0 without `statistics`."""
    x, weight = x.contiguous(memory_format=_LAST), weight.to(x.dtype, memory_format=_LAST)
    second = None if x2 is None else x2.to(x.dtype).contiguous(memory_format=_LAST)
    norm: tuple[Tensor, ...] = ()
    if parts is not None and norm_weight is not None and norm_bias is not None:
        norm = (parts.contiguous(), norm_weight.float(), norm_bias.float())
        norm = tuple(t.contiguous() for t in norm)
    y = _empty_result(x, weight)
    module, channels2 = backend.native(), 0 if second is None else second.shape[1]
    params = module.Conv3dForward(
        (x.shape[0], *x.shape[2:], x.shape[1] + channels2, weight.shape[0]),
        dtype_name("conv3d", "x", x),
        x.data_ptr(),
        (0, 0) if second is None else (second.data_ptr(), channels2),
        weight.data_ptr(),
        (norm[0].data_ptr(), norm[0].shape[1], norm[1].data_ptr(), norm[2].data_ptr())
        if norm
        else (0, 0, 0, 0),
        eps,
        y.data_ptr(),
        variant,
        planes,
    )
    with torch.cuda.device(x.device):
        count = module.conv3d_parts(params) if statistics else 0
    own = x.new_empty((x.shape[0], count, 3), dtype=torch.float32)
    params.write_parts(own.data_ptr() if statistics else 0)
    backend.launch("conv3d", params, x.device)
    return y, own


def _empty_result(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_LAST)


@torch.library.register_fake(_forward)
def _forward_fake(
    x: Tensor, weight: Tensor, x2: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor]:
    *_, statistics, _, _ = others
    count = torch.library.get_ctx().new_dynamic_size() if statistics else 0
    return _empty_result(x, weight), x.new_empty((x.shape[0], count, 3), dtype=torch.float32)


def conv3d(
    x: Tensor,
    weight: Tensor,
    x2: Tensor | None = None,
    norm: InputNorm | None = None,
    *,
    statistics: bool = False,
    variant: int = 0,
    planes: int = 0,
) -> tuple[Tensor, Tensor]:
    """A 3 × 3 × 3 convolution with stride 1 and padding 1, without gradient.

    Args:
        x: float16 or bfloat16 [B, C, K, I, J] on CUDA; C, with the channels of x2, at most 48.
        weight: [O, C, 3, 3, 3], O at most 48; read in the dtype of x.
        x2: [B, C2, K, I, J], channels that follow those of x, whose number is then a multiple of 8.
        norm: the convolution is of gelu(GroupNorm(1)(x)); x2 is included.
        statistics: give the parts of y's statistics, for the norm of the next convolution.
        variant: which of the compiled tiles, 0, 1 or 2.
        planes: output planes a block computes; 0 leaves it to the launcher.

    Returns:
        y [B, O, K, I, J], channels-last, and its parts, float32 [B, P, 3] (P = 0 without
        `statistics`).

    Raises:
        ValueError: the shapes or devices do not fit, or there are more than 48 channels.
        TypeError: another dtype.
        RuntimeError: no CUDA build, or a CUDA error.
    """
    channels = x.shape[1] + (0 if x2 is None else x2.shape[1]) if x.dim() == 5 else -1
    if weight.dim() != 5 or tuple(weight.shape[1:]) != (channels, 3, 3, 3):
        raise ValueError(
            f"conv3d: weight {tuple(weight.shape)} does not fit x {tuple(x.shape)}"
            + ("" if x2 is None else f" and x2 {tuple(x2.shape)}")
        )
    if x2 is not None and (x2.shape[0], *x2.shape[2:]) != (x.shape[0], *x.shape[2:]):
        raise ValueError(f"conv3d: x2 {tuple(x2.shape)} does not fit x {tuple(x.shape)}")
    if x.dtype not in DTYPES:
        raise TypeError(f"conv3d: x {tuple(x.shape)} of {x.dtype} is not float16 or bfloat16")
    parts, scale, shift, eps = (None, None, None, 0.0) if norm is None else norm
    if parts is not None and (parts.dim() != 3 or (parts.shape[0], parts.shape[2]) != (len(x), 3)):
        raise ValueError(f"conv3d: parts {tuple(parts.shape)} are not [{len(x)}, P, 3]")
    same_device("conv3d", x, weight=weight, x2=x2, parts=parts, norm_weight=scale, norm_bias=shift)
    return _forward(x, weight, x2, parts, scale, shift, eps, statistics, variant, planes)
