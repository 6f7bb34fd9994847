"""The best linear denoiser of a cohort, to which the U-Net's output is added.

In template space the PETs of a cohort differ along a few directions: how much amyloid there is, how
wide the ventricles are. Take x_0 as normal about the mean image m with variance λ_p along the unit
direction u_p (its principal components) and ρ in every other one. Then along each direction

    E[x_0 | x_t] = w x_t + (1 − w √ᾱ) m,     w = √ᾱ λ / (ᾱ λ + 1 − ᾱ)

(Wiener's filter), which is a product with u_p for the sum over thousands of voxels that a network
of small convolutions has to find. v is affine in x_0 and x_t, so what this says of v is added to
the output, and the U-Net learns the rest: what the MRI tells, and what is not linear. It is the
skip connection c_skip of Karras et al. 2022, "Elucidating the design space of diffusion-based
generative models", equation 7, for directions instead of single voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mri2pet.diffusion.schedule import STEPS, alpha_bar


class LinearDenoiser(nn.Module):
    """The part of ṽ that is linear in x_t, [B, 1, K, I, J]; 0 until `fit` was called.

    Args:
        components: P, how many directions have a variance of their own.
        shape: (K, I, J).

    Attributes:
        mean: float32 [voxels], m.
        directions: float32 [P, voxels], the u_p.
        table: float32 [1000, 2 + 2 P], the coefficients of every step: x_t's, the mean's, a gain
            and an offset for each direction. Row 0 is never used.
    """

    mean: Tensor
    directions: Tensor
    table: Tensor

    def __init__(self, components: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        voxels = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(voxels))
        self.register_buffer("directions", torch.zeros(components, voxels))
        self.register_buffer("table", torch.zeros(STEPS, 2 + 2 * components))

    def rows(self, t: Tensor) -> Tensor:
        """The coefficients of t int64 [B]: float32 [B, 2 + 2 P]."""
        return self.table[t]

    def forward(self, x_t: Tensor, rows: Tensor) -> Tensor:
        """x_t [B, 1, K, I, J] and `rows` of its steps → its part of ṽ, float32 of x_t's shape."""
        rows, end = rows.float(), 2 + len(self.directions)
        with torch.autocast(x_t.device.type, enabled=False):
            x = x_t.float().flatten(1)
            along = rows[:, 2:end] * (x @ self.directions.T) + rows[:, end:]
            level = rows[:, 0:1] * x + rows[:, 1:2] * self.mean
            return (level + along @ self.directions).reshape(x_t.shape)

    @torch.no_grad()
    def fit(self, volumes: Tensor) -> None:
        """Takes mean, directions and coefficients from standardised PETs, float32 [N, voxels].

        At most N // 4 directions are taken: along more, a sample's variance says nothing. All is
        computed from the products of the volumes in float64, and a direction's largest value is
        positive, so the same volumes give the same denoiser. One volume alone, or one with a value
        that is not finite, changes nothing: training says which it is.
        """
        (count, voxels), directions = volumes.shape, len(self.directions)
        if count < 2 or not volumes.isfinite().all():
            return
        mean = volumes.mean(0, dtype=torch.float64)
        centred = volumes - mean.float()
        products = _products(centred)
        values, vectors = torch.linalg.eigh(products)
        most = min(directions, count // 4)
        values, vectors = values.flip(0)[:most].clamp_min(1e-12), vectors.flip(1)[:, :most]
        along = (vectors / values.sqrt()).T.float() @ centred
        peak = along.abs().argmax(dim=1, keepdim=True)
        along = along * along.gather(1, peak).sign()
        rest = (products.trace() - values.sum()).clamp_min(1e-12) / (count - 1) / (voxels - most)
        self.mean.copy_(mean)
        self.directions.zero_()[:most] = along
        table = _coefficients(rest, values / (count - 1), along.double() @ mean)
        gains, offsets = 2, 2 + directions
        kept = [0, 1, *range(gains, gains + most), *range(offsets, offsets + most)]
        self.table.zero_()[:, kept] = table.to(self.table)


def _coefficients(rest: Tensor, variances: Tensor, along_mean: Tensor) -> Tensor:
    """`LinearDenoiser.table` in float64, from ρ, λ [P] and m's products with the directions [P].

    With b = 1/√(1−ᾱ), v = b (√ᾱ x_t − x_0).
    """
    a = alpha_bar().double()[:, None]
    root, b = a.sqrt(), (1 - a).rsqrt()

    def weight(variance: Tensor) -> Tensor:
        return root * variance / (a * variance + 1 - a)

    gains = -b * (weight(variances) - weight(rest))
    of_x, of_mean = b * (root - weight(rest)), -b * (1 - weight(rest) * root)
    return torch.cat((of_x, of_mean, gains, -gains * root * along_mean), dim=1)


def _products(centred: Tensor) -> Tensor:
    """All products of N volumes with each other, float64 [N, N], a part of the voxels at a time."""
    products = torch.zeros(len(centred), len(centred), dtype=torch.float64)
    for part in centred.split(2**14, dim=1):
        wide = part.double()
        products += wide @ wide.T
    return products
