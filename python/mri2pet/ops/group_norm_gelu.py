"""GroupNorm with one group [+ residual] [+ bias per channel] [+ GELU]: the network's only norm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """The op as four plain torch calls; arguments as in `group_norm_gelu`."""
    y = F.group_norm(x, 1, weight, bias, eps)
    if residual is not None:
        y = y + residual
    if channel_bias is not None:
        y = y + channel_bias.reshape(*channel_bias.shape, *([1] * (x.dim() - 2)))
    return F.gelu(y) if gelu else y


def group_norm_gelu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """act(GroupNorm(1)(x) · weight + bias + residual + channel_bias).

    Args:
        x: [B, C, K, I, J]; mean and variance are over all C·K·I·J values of a sample.
        weight, bias: [C].
        residual: [B, C, K, I, J], added after the norm.
        channel_bias: [B, C], added to every voxel of a channel.
        gelu: apply the exact (erf) GELU at the end.

    Returns:
        [B, C, K, I, J].

    Raises:
        ValueError: the shapes do not fit.
    """
    channels = x.shape[1] if x.dim() > 1 else -1
    if weight.shape != (channels,) or bias.shape != (channels,):
        raise ValueError(
            f"group_norm_gelu: weight {tuple(weight.shape)} and bias {tuple(bias.shape)} "
            f"do not fit x {tuple(x.shape)}"
        )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(
            f"group_norm_gelu: residual {tuple(residual.shape)} is not of the shape of x "
            f"{tuple(x.shape)}"
        )
    if channel_bias is not None and channel_bias.shape != x.shape[:2]:
        raise ValueError(
            f"group_norm_gelu: channel_bias {tuple(channel_bias.shape)} does not fit x "
            f"{tuple(x.shape)}"
        )
    return reference(x, weight, bias, residual, channel_bias, gelu, eps)
