"""The sinusoidal embedding of the diffusion step."""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.nn.blocks import EMBEDDING


def time_embedding(t: Tensor) -> Tensor:
    """[sin(t f), cos(t f)] with f_i = 1000^(−2i/256), i = 0 … 127.

    Args:
        t: int64 [B], 1 … 999.

    Returns:
        float32 [B, 256]: all sines, then all cosines.
    """
    i = torch.arange(0, EMBEDDING, 2, device=t.device, dtype=torch.float32)
    angles = t[:, None].to(torch.float32) / 1000 ** (i / EMBEDDING)
    return torch.cat((angles.sin(), angles.cos()), dim=1)
