"""A mixture of a few normal distributions for a sample of numbers, by expectation maximisation.

Dempster, Laird & Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm". How
many it takes, Bayes' criterion says (Schwarz 1978). Nothing is drawn: it begins with parts of equal
size of the sorted sample, so the same numbers give the same mixture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NARROWEST = 0.2
"""Standard deviation of each normal at least, in those of the sample."""
RAREST = 0.05
"""Weight of each normal at least: fewer may be a few strange ones."""
NUMBERS_A_NORMAL = 32
"""Of the sample, behind each normal."""
ROUNDS = 2000
ENOUGH = 1e-8
"""Growth of the mean log-likelihood in one round at which it ends."""


def fit_mixture(sample: Tensor, normals: int) -> Tensor:
    """The mixture of a sample whose mean is 0: float64 [K, 3], weight, mean and variance of each.

    Its mean is 0, and its variance the mean square of the sample (more only where a floor holds).
    What is best described by fewer normals, or is too small for more, gets copies of fewer: one
    normal distribution is K alike.

    Args:
        sample: [N].
        normals: K, at most.
    """
    sample = sample.double()
    most = max(1, min(normals, len(sample) // NUMBERS_A_NORMAL))
    found = [_of(sample, k) for k in range(1, most + 1) if normals % k == 0]
    mixture = min(found, key=lambda each: each[0])[1]
    copies = normals // len(mixture)
    mixture = mixture.repeat(copies, 1)
    mixture[:, 0] /= copies
    return mixture


def _of(sample: Tensor, normals: int) -> tuple[float, Tensor]:
    """Bayes' criterion (less is better) and the mixture of exactly so many normals [K, 3]."""
    count = len(sample)
    total = sample.square().mean().clamp_min(1e-12)
    if normals == 1:
        weights, means, variances = torch.ones(1), torch.zeros(1), total[None]
    else:
        weights, means, variances = _maximised(sample, normals, NARROWEST**2 * total)
        means = means - weights @ means  # a floor may have moved it
    mixture = torch.stack([each.double() for each in (weights, means, variances)], dim=1)
    likelihood = float(_logs(sample, *mixture.unbind(1)).logsumexp(1).sum())
    return (3 * normals - 1) * math.log(count) - 2 * likelihood, mixture


def _maximised(sample: Tensor, normals: int, narrowest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and variances [K], float64, of the largest likelihood near the beginning."""
    parts = sample.sort().values.tensor_split(normals)
    means = torch.stack([part.mean() for part in parts])
    spreads = torch.stack([part.var(correction=0) for part in parts])
    variances = torch.maximum(spreads, narrowest)
    weights = torch.full_like(means, 1 / normals)
    before = -math.inf
    for _ in range(ROUNDS):
        logs = _logs(sample, weights, means, variances)
        now = float(logs.logsumexp(1).mean())
        if now - before < ENOUGH:
            break
        before = now
        shares = logs.softmax(1)
        counts = shares.sum(0)
        weights = _at_least(counts / len(sample), RAREST)
        means = shares.T @ sample / counts
        spreads = (shares * (sample[:, None] - means).square()).sum(0) / counts
        variances = torch.maximum(spreads, narrowest)
    return weights, means, variances


def _logs(sample: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Logarithm of weight times density, without −½ log 2π, [N, K]."""
    far = (sample[:, None] - means).square() / variances
    return weights.log() - 0.5 * (variances.log() + far)


def _at_least(weights: Tensor, floor: float) -> Tensor:
    """Weights that add up to 1, none below the floor; those above pay for it."""
    excess = (weights - floor).clamp_min(0)
    return floor + excess * (1 - len(weights) * floor) / excess.sum()
