"""Random variations of a PET through which gradients go.

The policy of Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS
2020, for one channel and three axes: places vary in I and J, in all slices alike. Volumes are
[B, 1, K, I, J] around 0, u is [B] in (0, 1), places are int64 [B].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mri2pet.baselines.draws import Draws


def brightness(x: Tensor, u: Tensor) -> Tensor:
    """x + (u − 0.5)."""
    return x + (_for_voxels(u) - 0.5)


def saturation_over_slices(x: Tensor, u: Tensor) -> Tensor:
    """Deviations from the mean over the slices times 2u: the published baselines take slices for
    the channels of a colour picture. With one channel it would change nothing."""
    mean = x.mean(2, keepdim=True)
    return (x - mean) * (2 * _for_voxels(u)) + mean


def contrast(x: Tensor, u: Tensor) -> Tensor:
    """Deviations from the volume's mean times u + 0.5."""
    mean = x.mean((1, 2, 3, 4), keepdim=True)
    return (x - mean) * (_for_voxels(u) + 0.5) + mean


def translation(x: Tensor, shift_i: Tensor, shift_j: Tensor) -> Tensor:
    """out(i, j) = x(i + a, j + b) in all slices alike, 0 outside; a, b int64 [B]."""
    for axis, shift in ((3, shift_i), (4, shift_j)):
        size = x.shape[axis]
        place = torch.arange(size, device=x.device) + shift[:, None]  # [B, size]
        shape = [len(x), 1, 1, 1, 1]
        shape[axis] = size
        outside = ((place < 0) | (place >= size)).reshape(shape)
        index = place.clamp(0, size - 1).reshape(shape).expand_as(x)
        x = x.gather(axis, index).masked_fill(outside, 0.0)
    return x


def cutout(x: Tensor, centre_i: Tensor, centre_j: Tensor) -> Tensor:
    """0 in a box of half the size in I and J, in all slices alike; centres int64 [B]."""
    inside_i = _in_box(centre_i, x.shape[3])[:, None, None, :, None]
    inside_j = _in_box(centre_j, x.shape[4])[:, None, None, None, :]
    return x.masked_fill(inside_i & inside_j, 0.0)


def _in_box(centre: Tensor, size: int) -> Tensor:
    """[B, size]: the box starts half its width before the centre, cut at the border."""
    width = _rounded(size, 2)
    place = torch.arange(size, device=centre.device) - (centre[:, None] - width // 2)
    return (place >= 0) & (place < width)


def _rounded(size: int, part: int) -> int:
    return int(size / part + 0.5)


def _for_voxels(u: Tensor) -> Tensor:
    return u[:, None, None, None, None]


@dataclass(frozen=True)
class Variation:
    """One for each volume: u of three ops, float32 [B], and places in voxels, int64 [B]."""

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift_i: Tensor
    shift_j: Tensor
    cut_i: Tensor
    cut_j: Tensor

    def __call__(self, pet: Tensor, *, as_authors: bool = False) -> Tensor:
        """The varied PETs, [B, 1, K, I, J]; `as_authors` saturates over slices as well."""
        x = brightness(pet, self.brightness)
        if as_authors:
            x = saturation_over_slices(x, self.saturation)
        x = translation(contrast(x, self.contrast), self.shift_i, self.shift_j)
        return cutout(x, self.cut_i, self.cut_j)


def draw_variation(draws: Draws, of: str, size_i: int, size_j: int) -> Variation:
    """Variations of volumes of a size; `of` says which, for each draws its own."""

    def shift(axis: str, size: int) -> Tensor:
        most = _rounded(size, 8)
        return draws.integers(f"shift {axis} of {of}", -most, most + 1)

    def centre(axis: str, size: int) -> Tensor:
        even = 1 - _rounded(size, 2) % 2
        return draws.integers(f"cut {axis} of {of}", 0, size + even)

    return Variation(
        brightness=draws.uniform(f"brightness of {of}"),
        saturation=draws.uniform(f"saturation of {of}"),
        contrast=draws.uniform(f"contrast of {of}"),
        shift_i=shift("i", size_i),
        shift_j=shift("j", size_j),
        cut_i=centre("i", size_i),
        cut_j=centre("j", size_j),
    )
