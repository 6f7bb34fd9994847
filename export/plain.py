"""The network's parts in operators that every inference engine computes alike.

The norm is written as explicit float32 reductions: exported as `GroupNormalization` it is
reduced per channel by TensorRT's parser, silently. The attention is the folded one, with the
softmax over the voxels as exp, product and a division by the float32 sum: stored in half
precision, probabilities of 1e-6 would lose their digits, and a product over all voxels with
weights up to 1 would overflow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.nn import Network
from mri2pet.nn.blocks import Attention, Norm
from mri2pet.ops.linear_attention import HEADS

EPSILON = 1e-5
# What the weights of a softmax add up to where they are stored in half precision. Over a million
# voxels the mean weight is then 5e-4 (half's normal numbers start at 6e-5), and the product with
# activations stays finite (65,504) up to activations of 128.
HALF_WEIGHTS_SUM = 512.0
# Voxels that a product of half-precision factors sums up at once: an engine may add in half
# precision as well, where a running sum over 524,288 voxels is wrong by a half. The sums of the
# runs are added in float32.
MOST_IN_HALF = 512


class PlainNorm(nn.Module):
    """`nn.blocks.Norm` as mean, variance, scale and shift; reductions in float32."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach().float().reshape(1, -1, 1, 1, 1))
        self.bias = nn.Parameter(norm.bias.detach().float().reshape(1, -1, 1, 1, 1))

    def forward(
        self,
        x: Tensor,
        *,
        gelu: bool,
        residual: Tensor | None = None,
        channel_bias: Tensor | None = None,
    ) -> Tensor:
        wide = x.float()
        centred = wide - _mean(wide)
        variance = _mean(centred * centred)
        scale = self.weight / torch.sqrt(variance + EPSILON)
        shift: Tensor = self.bias
        if channel_bias is not None:
            shift = shift + channel_bias.float()[:, :, None, None, None]
        y = centred * scale + shift
        if residual is not None:
            y = y + residual.float()
        return (F.gelu(y) if gelu else y).to(x.dtype)


def _mean(x: Tensor) -> Tensor:
    """Mean of each sample's values, in two stages: a plain sum of millions loses digits."""
    return x.mean((3, 4), keepdim=True).mean((1, 2), keepdim=True)


class PlainAttention(nn.Module):
    """`nn.blocks.Attention` with the algebra folded, as matrix products.

    Attributes:
        operands: dtype of the factors of the products over all voxels; the rest is float32, and
            the result has the input's dtype.
    """

    operands = torch.float32

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        channels = attention.to_qkv.weight.shape[1]
        weights = attention.to_qkv.weight.detach().float().reshape(3, HEADS, -1, channels)
        out = attention.to_out.weight.detach().float().reshape(channels, HEADS, -1)
        assert attention.to_out.bias is not None
        self.query = nn.Parameter(weights[0].clone())  # [H, D, C]
        self.key = nn.Parameter(weights[1].reshape(-1, channels).clone())  # [H·D, C]
        self.value_t = nn.Parameter(weights[2].transpose(1, 2).contiguous())  # [H, C, D]
        self.out = nn.Parameter(out.permute(1, 0, 2).contiguous())  # [H, C, D]
        self.bias = nn.Parameter(attention.to_out.bias.detach().float()[:, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        voxels = x.reshape(batch, channels, -1).to(self.operands)
        s = self._s(voxels) if self.operands == torch.float32 else self._s_of_halves(voxels)
        s = s.reshape(batch, HEADS, -1, channels)
        context = torch.matmul(s, self.value_t)  # [B, H, D, D]
        folded = torch.matmul(torch.matmul(self.out, context.transpose(2, 3)), self.query)
        m = folded.sum(dim=1)  # [B, C, C]
        y = torch.matmul(m.to(self.operands), voxels).to(x.dtype) + self.bias.to(x.dtype)
        return y.reshape(x.shape)

    def _s(self, voxels: Tensor) -> Tensor:
        """softmax_N(Wk X) Xᵀ: [B, C, N] → [B, H·D, C]."""
        keys = torch.matmul(self.key, voxels)
        weights = torch.exp(keys - keys.amax(dim=2, keepdim=True))
        return torch.matmul(weights, voxels.transpose(1, 2)) / weights.sum(dim=2, keepdim=True)

    def _s_of_halves(self, voxels: Tensor) -> Tensor:
        """The same, run by run of voxels: [B, runs, C, voxels of a run] as factors."""
        batch, channels, count = voxels.shape
        run = _largest_divisor(count, MOST_IN_HALF)
        runs = voxels.reshape(batch, channels, -1, run).transpose(1, 2)
        keys = torch.matmul(self.key.to(self.operands), runs).float()
        weights = torch.exp(keys - keys.amax(dim=(1, 3), keepdim=True))
        total = weights.sum(dim=3, keepdim=True).sum(dim=1, keepdim=True)
        weights = (weights * (HALF_WEIGHTS_SUM / total)).to(self.operands)
        parts = torch.matmul(weights, runs.transpose(2, 3)).float()
        return parts.sum(dim=1) / HALF_WEIGHTS_SUM


def _largest_divisor(count: int, most: int) -> int:
    return next(n for n in range(min(count, most), 0, -1) if count % n == 0)


class HalfConv3d(nn.Module):
    """A convolution of half-precision operands whose input and result are float32.

    The result passes through half precision once, after it was summed up: ONNX's `Conv` gives the
    type that it takes. The bias is added in float32.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach().half())
        bias = convolution.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach()[:, None, None, None])
        self.padding = convolution.padding

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv3d(x.half(), self.weight, padding=self.padding).float()
        return y if self.bias is None else y + self.bias


def plain_network(network: Network) -> Network:
    """A float32 copy of the network on the CPU whose norms and attentions are the plain ones."""
    plain = copy.deepcopy(network).cpu().float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    _replace(plain, Norm, PlainNorm)
    _replace(plain, Attention, PlainAttention)
    return plain.eval().requires_grad_(False)


def in_half(plain: nn.Module, *, between: bool) -> None:
    """Convolutions and products over voxels of half-precision operands, in place.

    Args:
        between: what lies between them is in half precision too, all but norms and the sums of the
            attention; the network then takes and gives half precision. Otherwise it is float32.
    """
    if between:
        plain.half()
    else:
        _replace(plain, nn.Conv3d, HalfConv3d)
    for module in plain.modules():
        if isinstance(module, PlainAttention):
            module.operands = torch.float16
        if isinstance(module, (PlainNorm, PlainAttention)):
            module.float()


def _replace(module: nn.Module, kind: type[nn.Module], by: Callable[[Any], nn.Module]) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, by(child))
