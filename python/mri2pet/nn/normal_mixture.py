"""What is left of a number after a prediction, as a mixture of a few normal distributions.

Each normal has its own mean, a line in the prediction, and its own variance, and the prediction
says how likely each is: the logarithm of its odds is a line as well. That is what follows from a
mixture of normal distributions of prediction and number together (Sung 2004, "Gaussian mixture
regression and classification") whose predictions have one variance. It is fitted by expectation
maximisation (Dempster, Laird & Rubin 1977); how many normals it takes, Bayes' criterion says
(Schwarz 1978). Nothing is drawn: it begins with parts of equal size of the sorted numbers, so the
same people give the same mixture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PARAMETERS = ("odds", "lean", "mean", "drift", "variance")
"""Of a normal: π ∝ exp(odds + lean · d) of N(mean + drift · d, variance), d the prediction."""
NARROWEST = 0.1
"""Standard deviation of each normal at least, in those of all that is left."""
RAREST = 0.05
"""Share of the people behind each normal at least: fewer may be a few strange ones."""
PEOPLE_A_NORMAL = 32
"""People behind each normal at least."""
ROUNDS = 2000
ENOUGH = 1e-8
"""Growth of the mean log-likelihood in one round at which it ends."""


def fit_mixture(predicted: Tensor, left: Tensor, normals: int) -> Tensor:
    """`PARAMETERS` of each normal: float64 [K, 5]; the odds of d = 0 are probabilities.

    What is best described by one normal distribution, or too few people for more, gets K copies of
    it: mean and drift 0, and the mean square as variance.

    Args:
        predicted: [N], of mean 0, for people that the prediction was not fitted to.
        left: [N], measured less predicted; its mean and its product with the other are 0.
        normals: K, at most.
    """
    predicted, left = predicted.double(), left.double()
    one = torch.zeros(1, len(PARAMETERS), dtype=torch.float64)
    one[0, -1] = left.square().mean().clamp_min(1e-12)
    if normals > 1 and len(left) >= PEOPLE_A_NORMAL * normals:
        several = _maximised(predicted, left, normals)
        if _criterion(several, predicted, left) < _criterion(one, predicted, left):
            return several
    one[0, 0] = -math.log(normals)
    return one.repeat(normals, 1)


def mixture_mean(mixture: Tensor, predicted: Tensor) -> Tensor:
    """What is expected beyond predictions [B, P] by mixtures [P, K, 5]: [B, P]."""
    odds, lean, mean, drift, _ = mixture.unbind(2)
    d = predicted[:, :, None]
    return ((odds + lean * d).softmax(2) * (mean + drift * d)).sum(2)


def _criterion(mixture: Tensor, predicted: Tensor, left: Tensor) -> float:
    """Bayes' criterion of what is left given the predictions: less is better."""
    odds, lean, mean, drift, variance = mixture.unbind(1)
    d = predicted[:, None]
    far = (left[:, None] - mean - drift * d).square() / variance
    shares = (odds + lean * d).log_softmax(1)
    likelihood = (shares - 0.5 * (variance.log() + far)).logsumexp(1).sum()
    return (5 * len(mixture) - 2) * math.log(len(left)) - 2 * float(likelihood)


def _maximised(predicted: Tensor, left: Tensor, normals: int) -> Tensor:
    """`PARAMETERS` [K, 5] of the largest likelihood near the beginning."""
    count, total = len(left), left.square().mean().clamp_min(1e-12)
    d, rest = predicted[:, None], left[:, None]
    shares = torch.zeros(count, normals, dtype=torch.float64)
    for k, part in enumerate((predicted + left).argsort(stable=True).tensor_split(normals)):
        shares[part, k] = 1
    before = -math.inf
    for _ in range(ROUNDS):
        counts = shares.sum(0)
        weights = _at_least(counts / count, RAREST)
        centres, levels = shares.T @ predicted / counts, shares.T @ left / counts
        spreads = (shares * (d - centres).square()).sum(0)
        across = (spreads.sum() / count).clamp_min(1e-9 * total)
        both = (shares * (d - centres) * (rest - levels)).sum(0)
        drift = both / spreads.clamp_min(1e-9 * total)
        mean = levels - drift * centres
        errors = (rest - mean - drift * d).square()
        variance = torch.maximum((shares * errors).sum(0) / counts, NARROWEST**2 * total)
        there = (d - centres).square() / across + across.log()
        logs = weights.log() - 0.5 * (there + errors / variance + variance.log())
        now = float(logs.logsumexp(1).mean())
        if now - before < ENOUGH:
            break
        before, shares = now, logs.softmax(1)
    odds = (weights.log() - 0.5 * centres.square() / across).log_softmax(0)
    return torch.stack((odds, centres / across, mean, drift, variance), dim=1)


def _at_least(weights: Tensor, floor: float) -> Tensor:
    """Weights that add up to 1, none below the floor; those above pay for it."""
    excess = (weights - floor).clamp_min(0)
    return floor + excess * (1 - len(weights) * floor) / excess.sum()
