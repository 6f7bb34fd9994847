"""The best linear denoiser of a cohort, along the few directions that a U-Net does not see.

How much amyloid there is is one number that thousands of voxels share: a direction in the space of
all PETs. A network of small convolutions hardly learns to add up thousands of noisy voxels, and the
sum says it at once. Let s be the scores of an MRI along the principal components of the cohort's
MRIs, B s what least squares makes of them beyond the mean PET m, and u_p the first principal
components of what is left, x_0 − m − B s. Take x_0 as normal along each of them, about

    μ_p = u_p · (m + B s)

with the variance λ_p. With x_t = √ᾱ x_0 + n ε, what is then to be expected of v = √ᾱ ε − n x_0 is

    E[v_p | x_t] = −n μ_p + √ᾱ n (1 − λ_p) / (ᾱ λ_p + n²) (u_p · x_t − √ᾱ μ_p)

(Wiener's filter; the skip connection of Karras et al. 2022, "Elucidating the design space of
diffusion-based generative models", equation 7, for directions instead of voxels). Along the u_p
that is the network's output, in all other directions it is the U-Net's.

The last step of the noising still holds √ᾱ x_0: little in a voxel, but in a sum over the brain as
much as the noise. Who starts from noise alone starts from a person of far too little uptake (Lin et
al. 2024, "Common diffusion noise schedules and sample steps are flawed"), so the sampling loop adds
√ᾱ (m + Σ_p (μ_p − u_p · m) u_p) to the first noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mri2pet.diffusion.schedule import STEPS, alpha_bar

SCORES = 16
"""Principal components of the MRIs that are taken at most."""
VOLUMES_A_SCORE = 16
"""Volumes behind each score of the regression; with fewer it would fit what is people's own."""
MOST = 3.0
"""Standard deviations that an MRI moves μ_p at most: beyond, it is unlike all of the cohort."""


class LinearDenoiser(nn.Module):
    """Replaces ṽ [B, 1, K, I, J] along the directions; changes nothing until `fit` was called.

    Args:
        components: P, how many directions.
        shape: (K, I, J).

    Attributes:
        mean: float32 [voxels], m.
        directions: float32 [P, voxels], the u_p.
        readers: float32 [P, voxels]: their products with an MRI on the PET grid say μ_p.
        told: float32 [2, P]: those products for the mean MRI, and the most that a person's may
            differ from them.
        table: float32 [1000, 2 + P], the coefficients of every step: √ᾱ, n, and for each direction
            what u_p · x_t − √ᾱ μ_p is multiplied by.
    """

    mean: Tensor
    directions: Tensor
    readers: Tensor
    told: Tensor
    table: Tensor

    def __init__(self, components: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        voxels = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(voxels))
        for name in ("directions", "readers"):
            self.register_buffer(name, torch.zeros(components, voxels))
        self.register_buffer("told", torch.zeros(2, components))
        self.register_buffer("table", torch.zeros(STEPS, 2 + components))

    def rows(self, t: Tensor) -> Tensor:
        """The coefficients of t int64 [B]: float32 [B, 2 + P]."""
        return self.table[t]

    def expected(self, mri: Tensor) -> Tensor:
        """The expected PET of MRIs on the PET grid, see `expected_pet`."""
        return expected_pet(mri, self.mean, self.directions, self.readers, self.told)

    def forward(self, output: Tensor, x_t: Tensor, rows: Tensor, expected: Tensor) -> Tensor:
        """ṽ, float32 [B, 1, K, I, J].

        Args:
            output, x_t: of the U-Net, and what it saw, [B, 1, K, I, J].
            rows: of the steps, `rows` [B, 2 + P].
            expected: the expected PET of the MRI, [B, 1, K, I, J].
        """
        rows = rows.float()
        root, n, gains = rows[:, 0:1], rows[:, 1:2], rows[:, 2:]
        with torch.autocast(x_t.device.type, enabled=False):
            output, x, mu = (each.float().flatten(1) for each in (output, x_t, expected))
            wanted = gains * ((x - root * mu) @ self.directions.T)
            changed = wanted - (output + n * mu) @ self.directions.T
            return (output + changed @ self.directions).reshape(x_t.shape)

    @torch.no_grad()
    def fit(self, volumes: Tensor, mris: Tensor) -> None:
        """Takes all from standardised PETs and the MRIs on their grid, float32 [N, voxels] each.

        At most N // 4 directions and N // 16 scores are taken: along more, a sample's variance
        says nothing. All is computed from products of the volumes in float64, and the largest
        value of a direction is positive, so the same volumes give the same denoiser. One volume
        alone, or one with a value that is not finite, changes nothing: training says which it is.
        """
        count, components = len(volumes), len(self.directions)
        if count < 2 or not (volumes.isfinite().all() and mris.isfinite().all()):
            return
        mean, mri_mean = (v.mean(0, dtype=torch.float64).float() for v in (volumes, mris))
        rest, mri_rest = volumes - mean, mris - mri_mean
        along, variances = _components(mri_rest, min(SCORES, count // VOLUMES_A_SCORE))
        known = (variances > 1e-9 * variances[:1])[:, None]
        readers = torch.where(known, along / variances.sqrt()[:, None].float(), 0.0)
        scores = mri_rest @ readers.T
        images = scores.T @ rest / (count - 1)
        rest -= scores @ images
        most = min(components, count // 4)
        directions, variances = _components(rest, most)
        by_score = images @ directions.T
        readers = by_score.T @ readers
        self.mean.copy_(mean)
        self.directions.zero_()[:most] = directions
        self.readers.zero_()[:most] = readers
        self.told.zero_()
        self.told[0, :most] = readers @ mri_mean
        self.told[1, :most] = MOST * by_score.norm(dim=0)
        self.table.zero_()[:, : 2 + most] = _coefficients(variances).to(self.table)


def expected_pet(
    mri: Tensor, mean: Tensor, directions: Tensor, readers: Tensor, told: Tensor
) -> Tensor:
    """m + Σ_p (μ_p − u_p · m) u_p, standardised, float32 [B, 1, K, I, J].

    Args:
        mri: [B, 1, K, I, J] in [0, 1], on the PET grid.
        mean, directions, readers, told: attributes of `LinearDenoiser`.
    """
    with torch.autocast(mri.device.type, enabled=False):
        says = mri.float().flatten(1) @ readers.T - told[0]
        return (mean + says.clamp(-told[1], told[1]) @ directions).reshape(mri.shape)


def _coefficients(variances: Tensor) -> Tensor:
    """`LinearDenoiser.table` in float64, from λ [P]."""
    a = alpha_bar().double()[:, None]
    root, n = a.sqrt(), (1 - a).sqrt()
    return torch.cat((root, n, root * n * (1 - variances) / (a * variances + 1 - a)), dim=1)


def _components(centred: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Principal components of N centred volumes, float32 [N, voxels], the first `most` of them.

    Returns: unit directions float32 [most, voxels] and their variances in float64.
    """
    products = _products(centred)
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0)[:most].clamp_min(1e-12), vectors.flip(1)[:, :most]
    along = (vectors / values.sqrt()).T.float() @ centred
    peak = along.abs().argmax(dim=1, keepdim=True)
    along = along * along.gather(1, peak).sign()
    return along, values / (len(centred) - 1)


def _products(centred: Tensor) -> Tensor:
    """All products of N volumes with each other, float64 [N, N], a part of the voxels at a time."""
    products = torch.zeros(len(centred), len(centred), dtype=torch.float64)
    for part in centred.split(2**14, dim=1):
        wide = part.double()
        products += wide @ wide.T
    return products
