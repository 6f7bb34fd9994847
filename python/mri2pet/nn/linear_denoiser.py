"""The best denoiser of a cohort along the few directions that a U-Net does not see.

How much amyloid there is is one number that thousands of voxels share: a direction in the space of
all PETs. A network of small convolutions hardly learns to add up thousands of noisy voxels, and the
sum says it at once. Ridge regression predicts PETs from MRIs (`nn.ridge`); u_p are the first
principal components of its errors for people that it was not fitted to. Along each of them a ridge
regression of its own predicts

    μ_p = u_p · m + β_p · (MRI − mean MRI)

with m the mean PET, and β_p scaled so that predictions for left-out people are right on average.
What is left beyond it is taken as a mixture of normal distributions, for it is skewed: most people
have little amyloid, and an MRI rather says whether there is any than how much. With
d = μ_p − u_p · m the k-th has the mean δ_k, a line in d, the variance λ_k, and odds whose logarithm
is a line in d (`nn.normal_mixture`). With x_t = √ᾱ x_0 + n ε and y = u_p · x_t − √ᾱ μ_p, the k-th
alone would make

    v_k = g_k (y − √ᾱ δ_k) − n δ_k,   g_k = √ᾱ n (1 − λ_k) / (ᾱ λ_k + n²)

of v = √ᾱ ε − n x_0 beyond −n μ_p: Wiener's filter (the skip connection of Karras et al. 2022,
"Elucidating the design space of diffusion-based generative models", equation 7, for directions
instead of voxels). Together they make

    E[v_p | x_t] = −n μ_p + Σ_k π_k v_k,   π_k ∝ odds_k N(y; √ᾱ δ_k, ᾱ λ_k + n²)

Along the u_p that is the network's output, in all other directions it is the U-Net's.

The last step of the noising still holds √ᾱ x_0: little in a voxel, but in a sum over the brain as
much as the noise. Who starts from noise alone starts from a person of far too little uptake (Lin et
al. 2024, "Common diffusion noise schedules and sample steps are flawed"), so the sampling loop adds
√ᾱ times the expected PET to the first noise, with the mixture's mean along each u_p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mri2pet.diffusion.schedule import STEPS, alpha_bar
from mri2pet.nn.normal_mixture import PARAMETERS, fit_mixture, mixture_mean
from mri2pet.nn.ridge import Ridge

NORMALS = 2
"""K, normal distributions along a direction."""
MOST = 3.0
"""Standard deviations that an MRI moves μ_p at most: beyond, it is unlike all of the cohort."""
COEFFICIENTS = ("gain", "shift", "drift", "scale", "centre", "tilt", "odds", "lean")
"""Of a normal at a step: v_k = gain · y + shift + drift · μ and
π_k ∝ exp(odds + lean · μ − ½ (scale · y − centre − tilt · μ)²)."""
OLD_NAMES = {"readers": "regression", "told": "offsets"}
"""Of buffers in the files of models that knew one normal distribution a direction."""


class LinearDenoiser(nn.Module):
    """Replaces ṽ [B, 1, K, I, J] along the directions; changes nothing until `fit` was called.

    Args:
        components: P, how many directions.
        shape: (K, I, J).
        normals: how many a mixture has at most; N below.

    Attributes:
        mean: float32 [voxels], m.
        directions: float32 [P, voxels], the u_p.
        regression: float32 [P, voxels], the β_p.
        offsets: float32 [2, P]: β_p · mean MRI, and the most that a person's product with β_p may
            differ from it.
        mixture: float32 [P, N, 5]: `PARAMETERS` of every normal.
        table: float32 [1000, 2 + 8·P·N], what is computed with at every step: √ᾱ, n, and the
            `COEFFICIENTS` [8, P, N] of the mixtures.
    """

    mean: Tensor
    directions: Tensor
    regression: Tensor
    offsets: Tensor
    mixture: Tensor
    table: Tensor

    def __init__(
        self, components: int, shape: tuple[int, int, int], normals: int = NORMALS
    ) -> None:
        super().__init__()
        voxels = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(voxels))
        for name in ("directions", "regression"):
            self.register_buffer(name, torch.zeros(components, voxels))
        self.register_buffer("offsets", torch.zeros(2, components))
        self.register_buffer("mixture", torch.zeros(components, normals, len(PARAMETERS)))
        columns = 2 + len(COEFFICIENTS) * components * normals
        self.register_buffer("table", torch.zeros(STEPS, columns))

    def rows(self, t: Tensor) -> Tensor:
        """The coefficients of t int64 [B]: float32 [B, 2 + 8·P·N]."""
        return self.table[t]

    def predicted(self, mri: Tensor) -> Tensor:
        """What MRIs on the PET grid predict, see `predicted_pet`."""
        return predicted_pet(mri, self.mean, self.directions, self.regression, self.offsets)

    def expected(self, predicted: Tensor) -> Tensor:
        """The expected PET, see `expected_pet`."""
        return expected_pet(predicted, self.mean, self.directions, self.mixture)

    def forward(self, output: Tensor, x_t: Tensor, rows: Tensor, predicted: Tensor) -> Tensor:
        """ṽ, float32 [B, 1, K, I, J].

        Args:
            output, x_t: of the U-Net, and what it saw, [B, 1, K, I, J].
            rows: of the steps, `rows` [B, 2 + 8·P·N].
            predicted: by the MRI, `predicted` [B, 1, K, I, J].
        """
        rows = rows.float()
        root, n = rows[:, 0:1], rows[:, 1:2]
        with torch.autocast(x_t.device.type, enabled=False):
            output, x, mu = (each.float().flatten(1) for each in (output, x_t, predicted))
            y, along = (x - root * mu) @ self.directions.T, mu @ self.directions.T
            wanted = self._posterior(rows[:, 2:], y, along)
            changed = wanted - (output + n * mu) @ self.directions.T
            return (output + changed @ self.directions).reshape(x_t.shape)

    def _posterior(self, rows: Tensor, y: Tensor, mu: Tensor) -> Tensor:
        """Σ_k π_k v_k [B, P] from the rows [B, 8·P·N], y and μ [B, P], by what every engine can.

        The largest of the exponents is taken off, so that one share at least is no 0.
        """
        shape = self.mixture.shape[:2]
        width = shape.numel()
        gain, shift, drift, scale, centre, tilt, odds, lean = (
            rows[:, i * width : (i + 1) * width].reshape(-1, *shape)
            for i in range(len(COEFFICIENTS))
        )
        y, mu = y[:, :, None], mu[:, :, None]
        far = scale * y - (centre + tilt * mu)
        exponents = odds + lean * mu - 0.5 * far * far
        shares = (exponents - exponents.amax(2, keepdim=True)).exp()
        return (shares * (gain * y + (shift + drift * mu))).sum(2) / shares.sum(2)

    @torch.no_grad()
    def fit(self, volumes: Tensor, mris: Tensor, people: Sequence[str] | None = None) -> None:
        """Takes all from standardised PETs and the MRIs on their grid, float32 [N, voxels] each.

        At most N // 4 directions are taken: along more, a sample's variance says nothing. All is
        computed from products of the volumes in float64, and the largest value of a direction is
        positive, so the same volumes give the same denoiser. One volume alone, or one with a value
        that is not finite, changes nothing: training says which it is.

        Args:
            people: who each volume is of; None where each is of another person.
        """
        count, components = len(volumes), len(self.directions)
        if count < 2 or not (volumes.isfinite().all() and mris.isfinite().all()):
            return
        mean, mri_mean = (v.mean(0, dtype=torch.float64).float() for v in (volumes, mris))
        rest, mri_rest = volumes - mean, mris - mri_mean
        ridge = Ridge(_products(mri_rest), people)
        most = min(components, count // 4)
        directions = _left_directions(ridge, rest, most)
        regression = torch.zeros(most, mris.shape[1])
        spreads = torch.zeros(most)
        mixture = torch.zeros(self.mixture.shape, dtype=torch.float64)
        for p in range(most):
            level = _along(rest, directions[p])
            errors = [of @ level for of in ridge.left_out]
            place = ridge.best([of.square().sum() for of in errors])
            told = level - errors[place]
            told -= told.mean()
            # Shrunk predictions are too near the mean. Where the MRI says nothing, those of
            # left-out people go the wrong way, and there are none.
            slope = (told @ level / told.square().sum().clamp_min(1e-12)).clamp_min(0)
            weights = (slope * ridge.weights(level, place)).float()
            regression[p] = weights @ mri_rest
            spreads[p] = slope * told.std()
            mixture[p] = fit_mixture(slope * told, level - slope * told, mixture.shape[1])
        self.mean.copy_(mean)
        self.directions.zero_()[:most] = directions
        self.regression.zero_()[:most] = regression
        self.offsets.zero_()
        self.offsets[0, :most] = regression @ mri_mean
        self.offsets[1, :most] = MOST * spreads
        self.mixture.copy_(mixture)
        self.table.copy_(_table(mixture[:most], directions @ mean, components))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Also takes the buffers of a model that knew one normal distribution a direction."""
        for old, new in OLD_NAMES.items():
            if prefix + old in state:
                state[prefix + new] = state.pop(prefix + old)
        if prefix + "table" in state and prefix + "mixture" not in state:
            table, mixture = _renewed(state[prefix + "table"], self.mixture.shape[1])
            state[prefix + "table"], state[prefix + "mixture"] = table, mixture
        super()._load_from_state_dict(state, prefix, *others)


def predicted_pet(
    mri: Tensor, mean: Tensor, directions: Tensor, regression: Tensor, offsets: Tensor
) -> Tensor:
    """m + Σ_p (μ_p − u_p · m) u_p, standardised, float32 [B, 1, K, I, J].

    Args:
        mri: [B, 1, K, I, J] in [0, 1], on the PET grid.
        mean, directions, regression, offsets: attributes of `LinearDenoiser`.
    """
    with torch.autocast(mri.device.type, enabled=False):
        says = mri.float().flatten(1) @ regression.T - offsets[0]
        return (mean + says.clamp(-offsets[1], offsets[1]) @ directions).reshape(mri.shape)


def expected_pet(predicted: Tensor, mean: Tensor, directions: Tensor, mixture: Tensor) -> Tensor:
    """The predicted PET [B, 1, K, I, J] and the mixtures' means beyond it, standardised.

    Args:
        predicted: by `predicted_pet`.
        mean, directions, mixture: attributes of `LinearDenoiser`.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        beyond = mixture_mean(mixture, (predicted.flatten(1) - mean) @ directions.T)
        return predicted + (beyond @ directions).reshape(predicted.shape)


def _table(mixture: Tensor, of_mean: Tensor, components: int) -> Tensor:
    """`LinearDenoiser.table` in float64 for so many directions, those without a mixture all 0.

    Args:
        mixture: float64 [P, N, 5].
        of_mean: u_p · m [P], where d begins.
    """
    a = alpha_bar().double()[:, None, None]
    root, n = a.sqrt(), (1 - a).sqrt()
    odds, lean, mean, drift, variance = mixture.unbind(2)
    of_mean = of_mean.double()[:, None]
    mean, odds = mean - drift * of_mean, odds - lean * of_mean
    seen = a * variance + 1 - a
    gain, scale = root * n * (1 - variance) / seen, seen.rsqrt()
    each = gain * root + n
    columns = (
        *(gain, -each * mean, -each * drift),
        *(scale, scale * root * mean, scale * root * drift),
        *(odds - 0.5 * seen.log(), lean.expand_as(seen)),
    )
    table = torch.zeros(STEPS, len(columns), components, mixture.shape[1], dtype=torch.float64)
    table[:, :, : len(mixture)] = torch.stack(columns, dim=1)
    return torch.cat((root.flatten(1), n.flatten(1), table.flatten(1)), dim=1)


def _renewed(table: Tensor, normals: int) -> tuple[Tensor, Tensor]:
    """Table and mixture of one normal distribution a direction, from √ᾱ, n and gains [1000, 2 + P].

    It becomes `normals` alike ones; the variance follows from the gain of the last step.
    """
    gains = table[:, 2:, None].expand(-1, -1, normals)
    new = torch.zeros(STEPS, len(COEFFICIENTS), *gains.shape[1:], dtype=table.dtype)
    new[:, 0] = gains
    root, n, gain = table[-1, 0].double(), table[-1, 1].double(), gains[-1].double()
    variances = torch.where(gain == 0, 0.0, n * (root - gain * n) / (gain * root**2 + root * n))
    mixture = torch.zeros(*gain.shape, len(PARAMETERS), dtype=table.dtype)
    mixture[..., 0] = torch.where(gain == 0, 0.0, -math.log(normals))
    mixture[..., -1] = variances
    return torch.cat((table[:, :2], new.flatten(1)), dim=1), mixture


def _left_directions(ridge: Ridge, centred: Tensor, most: int) -> Tensor:
    """Principal components of what is left of N PETs, float32 [most, voxels], unit vectors.

    Args:
        centred: float32 [N, voxels].
    """
    products = _products(centred)
    place = ridge.best([((errors @ products) * errors).sum() for errors in ridge.left_out])
    errors = ridge.left_out[place]
    values, vectors = torch.linalg.eigh(errors @ products @ errors.T)
    values, vectors = values.flip(0)[:most].clamp_min(1e-12), vectors.flip(1)[:, :most]
    along = ((vectors / values.sqrt()).T @ errors).float() @ centred
    peak = along.abs().argmax(dim=1, keepdim=True)
    return along * along.gather(1, peak).sign()


def _along(centred: Tensor, direction: Tensor) -> Tensor:
    """How far N volumes lie along a direction, float64 [N]."""
    parts = zip(centred.split(2**14, dim=1), direction.split(2**14), strict=True)
    return sum((part.double() @ of.double() for part, of in parts), torch.zeros(()).double())


def _products(centred: Tensor) -> Tensor:
    """All products of N volumes with each other, float64 [N, N], a part of the voxels at a time."""
    products = torch.zeros(len(centred), len(centred), dtype=torch.float64)
    for part in centred.split(2**14, dim=1):
        wide = part.double()
        products += wide @ wide.T
    return products
