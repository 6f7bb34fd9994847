"""Variations of a training pair in model space, on the device, each a function of a generator.

Geometry changes MRI and PET alike (flip, rotation, shift, size: what registration leaves open);
intensity changes the MRI alone (gamma, gain, bias field, noise, blur: what scanners differ in).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATION_DEGREES = 4.0
SHIFT_FRACTION = 0.03  # of half the model box: 2.4 … 2.9 mm
SCALE = 0.04
GAMMA = 0.25
GAIN = 0.1
BIAS = 0.15
NOISE = 0.03


def augment(mri: Tensor, pet: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One random variation of a pair.

    Args:
        mri: float32 [1, K, I, J] in [0, 1], 0 outside the brain.
        pet: float32 [1, K', I', J'] SUVR, 0 outside the brain.
        generator: a CPU generator; the same state gives the same variation.

    Returns:
        (mri, pet), shapes and ranges as given.
    """
    if _uniform(generator) < 0.5:
        mri, pet = mri.flip(2), pet.flip(2)
    theta = _random_affine(generator)
    mri, pet = _warp(mri, theta), _warp(pet, theta)
    return _vary_intensity(mri, generator), pet


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _random_affine(generator: torch.Generator) -> Tensor:
    """[1, 3, 4] in the normalised coordinates (J, I, K) of `affine_grid`."""
    rotation = torch.eye(3)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        angle = math.radians(_uniform(generator, -ROTATION_DEGREES, ROTATION_DEGREES))
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ turn
    scale = [_uniform(generator, 1 - SCALE, 1 + SCALE) for _ in range(3)]
    shift = [_uniform(generator, -SHIFT_FRACTION, SHIFT_FRACTION) for _ in range(3)]
    matrix = rotation @ torch.diag(torch.tensor(scale))
    return torch.cat((matrix, torch.tensor(shift)[:, None]), dim=1)[None]


def _warp(volume: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, [1, *volume.shape], align_corners=False)
    return F.grid_sample(volume[None], grid, mode="bilinear", align_corners=False)[0]


def _vary_intensity(mri: Tensor, generator: torch.Generator) -> Tensor:
    brain = mri > 0
    if _uniform(generator) < 0.3:
        sigma = _uniform(generator, 0.3, 0.8)
        mri = _blur(mri, sigma) * brain
    mri = mri ** math.exp(_uniform(generator, -GAMMA, GAMMA))
    mri = mri * _uniform(generator, 1 - GAIN, 1 + GAIN) * _bias_field(mri.shape[1:], generator)
    noise = torch.randn(mri.shape, generator=generator) * _uniform(generator, 0, NOISE)
    return ((mri + noise) * brain).clamp(0, 1)


def _bias_field(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A smooth gain around 1: random values on a 3 × 3 × 3 grid, interpolated."""
    coarse = torch.rand((1, 1, 3, 3, 3), generator=generator) * 2 - 1
    strength = _uniform(generator, 0, BIAS)
    fine = F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return torch.exp(strength * fine)[0]


def _blur(volume: Tensor, sigma: float) -> Tensor:
    """Gaussian of `sigma` voxels along each axis, kernel of three voxels."""
    side = math.exp(-0.5 / sigma**2)
    kernel = torch.tensor([side, 1.0, side]) / (1 + 2 * side)
    x = volume[None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 3, 1
        x = F.conv3d(x, kernel.reshape(shape), padding=padding)
    return x[0]
