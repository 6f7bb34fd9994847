"""The blocks of the U-Net. Tensors are [B, C, K, I, J]; `bias` is one value a channel, [B, C]."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.nn.convolution import Conv3d
from mri2pet.ops import convolution_choice, group_norm_gelu, linear_attention, upsample_concat
from mri2pet.ops.apply_norm import apply_norm
from mri2pet.ops.conv3d import InputNorm, conv3d
from mri2pet.ops.linear_attention import HEADS

EMBEDDING = 256


@contextlib.contextmanager
def exact_gradients(x: Tensor) -> Iterator[Tensor]:
    """Gives x in float32 with autocast off where torch's CPU convolution is wrong in bf16.

    Seen with torch 2.13: a 3 × 3 × 3 convolution over a volume of depth 2 gives weight gradients
    of 1e34 or NaN in bf16 on the CPU. Depth 4 and more is right.
    """
    if x.device.type != "cpu" or x.shape[2] >= 4 or not torch.is_autocast_enabled("cpu"):
        yield x
        return
    with torch.autocast("cpu", enabled=False):
        yield x.float()


class Norm(nn.Module):
    """GroupNorm with one group over all of a sample's values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self,
        x: Tensor,
        *,
        gelu: bool,
        residual: Tensor | None = None,
        channel_bias: Tensor | None = None,
    ) -> Tensor:
        return group_norm_gelu(x, self.weight, self.bias, residual, channel_bias, gelu)

    def of(self, parts: Tensor) -> InputNorm:
        """The norm of an input whose statistics are known."""
        return InputNorm(parts, self.weight, self.bias)


class DoubleConv(nn.Module):
    """conv · norm · GELU · conv · norm; with `residual` GELU(x + body(x)).

    Where both convolutions are `mri2pet.ops.conv3d`, they leave the statistics of their output, and
    the second one norms its input while it reads it.
    """

    def __init__(self, cin: int, cout: int, mid: int | None = None, residual: bool = False) -> None:
        super().__init__()
        mid = mid or cout
        self.residual = residual
        self.conv1 = Conv3d(cin, mid)
        self.norm1 = Norm(mid)
        self.conv2 = Conv3d(mid, cout)
        self.norm2 = Norm(cout)

    def forward(self, x: Tensor, channel_bias: Tensor | None = None) -> Tensor:
        first = convolution_choice.tile_for(x, self.conv1.weight)
        second = convolution_choice.tile_for(x, self.conv2.weight)
        if first is not None and second is not None and len(self.norm2.weight) % 8 == 0:
            return self._fused(x, channel_bias, first, second)
        with exact_gradients(x) as x:
            h = self.norm1(self.conv1(x), gelu=True)
            h = self.conv2(h)
            if self.residual:
                return self.norm2(h, gelu=True, residual=x.to(h.dtype))
            return self.norm2(h, gelu=False, channel_bias=channel_bias)

    def _fused(
        self,
        x: Tensor,
        channel_bias: Tensor | None,
        first: convolution_choice.Tile,
        second: convolution_choice.Tile,
    ) -> Tensor:
        h, parts = conv3d(x, self.conv1.weight, statistics=True, **first._asdict())
        norm = self.norm1.of(parts)
        h, parts = conv3d(h, self.conv2.weight, norm=norm, statistics=True, **second._asdict())
        if self.residual:
            return apply_norm(h, self.norm2.of(parts), x)
        return apply_norm(h, self.norm2.of(parts), channel_bias=channel_bias, gelu=False)


class Down(nn.Module):
    """Halves the volume: max-pool, residual DoubleConv, DoubleConv plus the block's bias."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.residual = DoubleConv(cin, cin, residual=True)
        self.conv = DoubleConv(cin, cout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.conv(self.residual(F.max_pool3d(x, 2)), bias)


class Up(nn.Module):
    """Doubles the volume, joins the skip connection, two DoubleConvs plus the block's bias."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.residual = DoubleConv(cin, cin, residual=True)
        self.conv = DoubleConv(cin, cout, mid=cin // 2)

    def forward(self, x: Tensor, skip: Tensor, bias: Tensor) -> Tensor:
        return self.conv(self.residual(upsample_concat(x, skip)), bias)


class Attention(nn.Module):
    """Linear attention with 4 heads of 32; its output replaces its input."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.to_qkv = nn.Conv3d(channels, 3 * HEADS * width, 1, bias=False)
        self.to_out = nn.Conv3d(HEADS * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.to_out.bias is not None
        return linear_attention(x, self.to_qkv.weight, self.to_out.weight, self.to_out.bias)
