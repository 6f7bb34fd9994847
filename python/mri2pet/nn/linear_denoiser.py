"""The best linear denoiser of a cohort, to which the U-Net's output is added.

In template space PETs differ along a few directions: how much amyloid there is, how wide the
ventricles are. Part of that the MRI tells. Let s be the scores of an MRI along the principal
components of the cohort's MRIs, and take x_0 as normal about

    μ = m + B s

(m the mean PET, B from least squares) with variance λ_p along the unit direction u_p (the principal
components of x_0 − μ) and ρ in every other one. Then along each direction

    E[x_0 | x_t] = μ + w (x_t − √ᾱ μ),     w = √ᾱ λ / (ᾱ λ + 1 − ᾱ)

(Wiener's filter), which is a product with u_p for the sum over thousands of voxels that a network
of small convolutions has to find. v is affine in x_0 and x_t, so what this says of v is added to
the output, and the U-Net, which sees μ as one more channel, learns the rest. It is the skip
connection c_skip of Karras et al. 2022, "Elucidating the design space of diffusion-based
generative models", equation 7, for directions instead of single voxels.

The last step of the noising still holds √ᾱ μ: little in a voxel, but more than the noise in a sum
over the brain. Who starts from noise alone starts from a person of far too little uptake (Lin et
al. 2024, "Common diffusion noise schedules and sample steps are flawed"), so the sampling loop adds
it to the first noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mri2pet.diffusion.schedule import STEPS, alpha_bar

VOLUMES_A_SCORE = 16
"""Volumes behind each score of the regression; with fewer it would fit what is people's own."""
MOST_SCORE = 3.0
"""Scores have a standard deviation of 1; an MRI beyond this many is unlike all of the cohort."""


class LinearDenoiser(nn.Module):
    """The part of ṽ that is linear in x_t, [B, 1, K, I, J]; 0 until `fit` was called.

    Args:
        components: P, how many directions have a variance of their own, and how many scores of
            the MRI are taken at most.
        shape: (K, I, J).

    Attributes:
        mean: float32 [voxels], m.
        mri_mean: float32 [voxels], of the MRIs on the PET grid.
        readers: float32 [P, voxels]: their products with MRI − `mri_mean` are its scores s.
        images: float32 [P, voxels], the columns of B.
        directions: float32 [P, voxels], the u_p.
        table: float32 [1000, 3 + P], the coefficients of every step: √ᾱ, x_t's, μ's, and a gain
            for each direction. Row 0 is never used.
    """

    mean: Tensor
    mri_mean: Tensor
    readers: Tensor
    images: Tensor
    directions: Tensor
    table: Tensor

    def __init__(self, components: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        voxels = shape[0] * shape[1] * shape[2]
        for name in ("mean", "mri_mean"):
            self.register_buffer(name, torch.zeros(voxels))
        for name in ("readers", "images", "directions"):
            self.register_buffer(name, torch.zeros(components, voxels))
        self.register_buffer("table", torch.zeros(STEPS, 3 + components))

    def rows(self, t: Tensor) -> Tensor:
        """The coefficients of t int64 [B]: float32 [B, 3 + P]."""
        return self.table[t]

    def expected(self, mri: Tensor) -> Tensor:
        """μ of MRIs on the PET grid, see `expected_pet`."""
        return expected_pet(mri, self.mean, self.mri_mean, self.readers, self.images)

    def forward(self, x_t: Tensor, rows: Tensor, expected: Tensor) -> Tensor:
        """x_t and μ [B, 1, K, I, J], `rows` of the steps → the part of ṽ, float32, same shape."""
        rows = rows.float()
        with torch.autocast(x_t.device.type, enabled=False):
            x, mu = x_t.float().flatten(1), expected.float().flatten(1)
            along = rows[:, 3:] * ((x - rows[:, 0:1] * mu) @ self.directions.T)
            level = rows[:, 1:2] * x + rows[:, 2:3] * mu
            return (level + along @ self.directions).reshape(x_t.shape)

    @torch.no_grad()
    def fit(self, volumes: Tensor, mris: Tensor) -> None:
        """Takes all from standardised PETs and the MRIs on their grid, float32 [N, voxels] each.

        At most N // 4 directions and N // 16 scores are taken: along more, a sample's variance
        says nothing. All is computed from products of the volumes in float64, and the largest
        value of a direction is positive, so the same volumes give the same denoiser. One volume
        alone, or one with a value that is not finite, changes nothing: training says which it is.
        """
        (count, voxels), components = volumes.shape, len(self.directions)
        if count < 2 or not (volumes.isfinite().all() and mris.isfinite().all()):
            return
        mean, mri_mean = (v.mean(0, dtype=torch.float64).float() for v in (volumes, mris))
        rest, mri_rest = volumes - mean, mris - mri_mean
        self.mean.copy_(mean)
        self.mri_mean.copy_(mri_mean)
        most = min(components, count // VOLUMES_A_SCORE)
        along, variances, _ = _components(mri_rest, most)
        known = (variances > 1e-9 * variances[:1])[:, None]
        readers = torch.where(known, along / variances.sqrt()[:, None].float(), 0.0)
        scores = mri_rest @ readers.T
        images = scores.T @ rest / (count - 1)
        self.readers.zero_()[:most] = readers
        self.images.zero_()[:most] = images
        rest -= scores @ images
        most = min(components, count // 4)
        along, variances, total = _components(rest, most)
        self.directions.zero_()[:most] = along
        other = (total - variances.sum()).clamp_min(1e-12) / (voxels - most)
        self.table.zero_()[:, : 3 + most] = _coefficients(other, variances).to(self.table)


def expected_pet(
    mri: Tensor, mean: Tensor, mri_mean: Tensor, readers: Tensor, images: Tensor
) -> Tensor:
    """μ, standardised, float32 [B, 1, K, I, J], of MRIs of that shape in [0, 1].

    Args:
        mean, mri_mean, readers, images: attributes of `LinearDenoiser`.
    """
    with torch.autocast(mri.device.type, enabled=False):
        scores = (mri.float().flatten(1) - mri_mean) @ readers.T
        expected = mean + scores.clamp(-MOST_SCORE, MOST_SCORE) @ images
        return expected.reshape(mri.shape)


def _coefficients(rest: Tensor, variances: Tensor) -> Tensor:
    """`LinearDenoiser.table` in float64, from ρ and λ [P].

    With b = 1/√(1−ᾱ), v = b (√ᾱ x_t − x_0).
    """
    a = alpha_bar().double()[:, None]
    root, b = a.sqrt(), (1 - a).rsqrt()

    def weight(variance: Tensor) -> Tensor:
        return root * variance / (a * variance + 1 - a)

    gains = -b * (weight(variances) - weight(rest))
    of_x, of_expected = b * (root - weight(rest)), -b * (1 - weight(rest) * root)
    return torch.cat((root, of_x, of_expected, gains), dim=1)


def _components(centred: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of N centred volumes, float32 [N, voxels], the first `most` of them.

    Returns: unit directions float32 [most, voxels], their variances and the sum of all in float64.
    """
    products = _products(centred)
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0)[:most].clamp_min(1e-12), vectors.flip(1)[:, :most]
    along = (vectors / values.sqrt()).T.float() @ centred
    peak = along.abs().argmax(dim=1, keepdim=True)
    along = along * along.gather(1, peak).sign()
    return along, values / (len(centred) - 1), products.trace() / (len(centred) - 1)


def _products(centred: Tensor) -> Tensor:
    """All products of N volumes with each other, float64 [N, N], a part of the voxels at a time."""
    products = torch.zeros(len(centred), len(centred), dtype=torch.float64)
    for part in centred.split(2**14, dim=1):
        wide = part.double()
        products += wide @ wide.T
    return products
