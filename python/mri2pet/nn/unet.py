"""The 3D U-Net that sees a noisy PET volume and, through its block biases, step and MRI."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mri2pet.nn.blocks import EMBEDDING, Attention, DoubleConv, Down, Up

DOWN = ((8, 16), (16, 32), (32, 64), (64, 128))
UP = ((192, 64), (96, 32), (48, 16), (24, 8))
BIAS_SIZES = tuple(cout for _, cout in DOWN + UP)
_BIAS_ENDS = tuple(zip(BIAS_SIZES, itertools.accumulate(BIAS_SIZES), strict=True))


class UNet(nn.Module):
    """x_t [B, cin, K, I, J] and block biases [B, 360] → the network's output [B, 1, K, I, J].

    With `checkpointing` a training step keeps the ends of every level alone and computes what
    lies between again on the way back: less memory for more time, the same gradients.
    """

    def __init__(self, cin: int = 1) -> None:
        super().__init__()
        self.cin = cin
        self.checkpointing = False
        self.stem = DoubleConv(cin, 8)
        self.down = nn.ModuleList(Down(*channels) for channels in DOWN)
        self.down_attention = nn.ModuleList(Attention(cout) for _, cout in DOWN)
        self.bottleneck = nn.ModuleList(DoubleConv(128, 128) for _ in range(3))
        self.up = nn.ModuleList(Up(*channels) for channels in UP)
        self.up_attention = nn.ModuleList(Attention(cout) for _, cout in UP)
        self.head = nn.Conv3d(8, 1, 1)
        self.bias_layers = nn.ModuleList(nn.Linear(EMBEDDING, size) for size in BIAS_SIZES)

    def block_biases(self, embedding: Tensor) -> Tensor:
        """All that the blocks take from time and MRI: [B, 256] → [B, 360], one row a sample."""
        activated = F.silu(embedding)
        return torch.cat([layer(activated) for layer in self.bias_layers], dim=1)

    def forward(self, x: Tensor, block_biases: Tensor) -> Tensor:
        biases = [block_biases[:, end - size : end] for size, end in _BIAS_ENDS]
        x = self._level(self.stem, x)
        skips = []
        for block, attention, bias in zip(self.down, self.down_attention, biases[:4], strict=True):
            skips.append(x)
            x = self._level(lambda *given, b=block, a=attention: a(b(*given)), x, bias)
        for block in self.bottleneck:
            x = self._level(block, x)
        for block, attention, bias in zip(self.up, self.up_attention, biases[4:], strict=True):
            x = self._level(lambda *given, b=block, a=attention: a(b(*given)), x, skips.pop(), bias)
        return self.head(x)

    def _level(self, compute: Callable[..., Tensor], *given: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return compute(*given)
        return checkpoint(compute, *given, use_reentrant=False, preserve_rng_state=False)
