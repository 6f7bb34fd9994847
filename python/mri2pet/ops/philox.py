"""Noise that is a function of its coordinates: Philox4x32-10 and Box–Muller.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The key is
(seed, sample), the counter is (block of four voxels, step, subject low, subject high), so a
voxel's noise does not depend on the batch, the order, the engine or the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox4x32(counter: tuple[Tensor, ...], key: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Ten rounds of Philox4x32.

    Args:
        counter: four int64 tensors with values in [0, 2³²), of shapes that broadcast.
        key: two such tensors.

    Returns:
        Four int64 tensors with values in [0, 2³²).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # The product wraps modulo 2⁶⁴ in int64; both halves are right after masking.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def box_muller(bits_radius: Tensor, bits_angle: Tensor) -> tuple[Tensor, Tensor]:
    """Two float32 normals from two 32-bit words; the upper 24 bits of each are used."""
    radius = torch.sqrt(-2 * torch.log(((bits_radius >> 8) + 1).to(torch.float32) * 2.0**-24))
    angle = (bits_angle >> 8).to(torch.float32) * (2 * math.pi * 2.0**-24)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def philox_normal(
    shape: tuple[int, ...],
    *,
    seed: int,
    step: int,
    subjects: Tensor,
    samples: Tensor,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal noise of one step for a batch of (subject, sample) pairs.

    Args:
        shape: the shape of one sample, e.g. (1, K, I, J); voxels are counted in its order.
        seed: 0 … 2³²−1.
        step: the time step, 0 … 2³²−1.
        subjects: int64 [B], 64 bits that name a subject.
        samples: int64 [B], the number of the sample, 0 … 2³²−1.

    Returns:
        float32 [B, *shape].

    Raises:
        ValueError: the seed is out of its range.
    """
    if not 0 <= seed <= MASK:
        raise ValueError(f"seed {seed} must lie in 0 … 2³²−1")
    voxels = math.prod(shape)
    block = torch.arange((voxels + 3) // 4, device=device)[None]
    subjects, samples = subjects.to(device)[:, None], samples.to(device)[:, None]
    zero = torch.zeros_like(block)
    words = philox4x32(
        (block, zero + step, subjects & MASK, (subjects >> 32) & MASK),
        (zero + seed, samples & MASK),
    )
    normals = torch.stack((*box_muller(words[0], words[1]), *box_muller(words[2], words[3])), -1)
    return normals.flatten(1)[:, :voxels].reshape(len(samples), *shape)
