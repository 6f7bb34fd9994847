"""What compares the volumes of a micro-batch with one another: consistency and contrasts.

Rows are volumes: a set of features is [n, …], flattened to [n, size]. `as_authors` gives the
formula of the MRI2PET paper's published baselines, which differs from the method's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07
LEAST = 3  # with two volumes a row has one neighbour, and any two networks agree


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """cos(a_i, b_j) of the flattened rows, [n, m], in float32 or wider whatever the autocast."""
    with torch.autocast(a.device.type, enabled=False):
        rows, columns = _unit_rows(a), _unit_rows(b)
        return rows @ columns.T


def _unit_rows(features: Tensor) -> Tensor:
    rows = features.flatten(1)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-8)


def consistency(source: Tensor, adapted: Tensor, *, as_authors: bool = False) -> Tensor:
    """How far the similarities among the adapted volumes are from those of the source, a scalar.

    C(S, T) = 1/(n(n−1)) Σ_i Σ_{j≠i} p_ij(S) log(p_ij(S) / p_ij(T)), p_i(v) the softmax over j ≠ i
    of cos(v_i, v_j): Ojha et al. 2021, as their public code has it. The published baselines have
    Σ p_ij(T) (log p_ij(T) − p_ij(S)), the softmax where its logarithm belongs.

    Args:
        source: [n, …], taken as a constant.
        adapted: [n, …], which learns.

    Raises:
        ValueError: n < 3.
    """
    n = len(source)
    if n < LEAST:
        raise ValueError(f"{n} volumes: the consistency of fewer than {LEAST} is always 0")
    log_p, log_q = _neighbours(source.detach()), _neighbours(adapted)
    if as_authors:
        divergence = log_q.exp() * (log_q - log_p.exp())
    else:
        divergence = log_p.exp() * (log_p - log_q)
    return divergence.sum() / (n * (n - 1))


def _neighbours(features: Tensor) -> Tensor:
    """log p_ij, [n, n − 1]: the diagonal left out."""
    similarity = cosines(features, features)
    row = torch.arange(len(similarity), device=similarity.device)[:, None]
    place = row[:-1].T
    others = place + (place >= row)  # [n, n − 1]: 0 … n − 1 without the row's own
    return F.log_softmax(similarity.gather(1, others), dim=1)


def mean_consistency(
    sources: Sequence[Tensor], adapted: Sequence[Tensor], *, as_authors: bool = False
) -> Tensor:
    """The mean over the layers of two networks."""
    layers = [
        consistency(s, t, as_authors=as_authors) for s, t in zip(sources, adapted, strict=True)
    ]
    return torch.stack(layers).mean()


def generator_contrast(
    source: Tensor,
    adapted: Tensor,
    *,
    temperature: float = TEMPERATURE,
    as_authors: bool = False,
) -> Tensor:
    """L₁ of Zhao et al. 2022: which volume of the source is mine? A scalar, at least 0.

    mean_i −log (exp s_ii / Σ_j exp s_ij), s_ij = cos(adapted_i, source_j)/τ. The published
    baselines leave j = i out of the sum, and so have no lower bound.

    Args:
        source: [n, …], taken as a constant.
        adapted: [n, …], which learns.
    """
    s = cosines(adapted, source.detach()) / temperature
    denominator = _without_diagonal(s) if as_authors else s
    return (denominator.logsumexp(1) - s.diagonal()).mean()


def critic_contrast(
    adapted: Tensor, source: Tensor, real: Tensor, *, temperature: float = TEMPERATURE
) -> Tensor:
    """L₂ of Zhao et al. 2022: the adapted volume is like the source's, not like real ones.

    mean_i −log (e_i / (e_i + Σ_{j≠i} exp s(y_i, x_j))), e_i = exp s(y_i, w_i), of a critic's
    features of y (adapted), w (source) and x (real). x_i is what y_i should become, and no
    negative. All three carry gradient: the critic learns.
    """
    positive = cosines(adapted, source).diagonal()[:, None] / temperature
    negatives = _without_diagonal(cosines(adapted, real) / temperature)
    return (torch.cat((positive, negatives), 1).logsumexp(1) - positive[:, 0]).mean()


def _without_diagonal(s: Tensor) -> Tensor:
    return s.masked_fill(torch.eye(len(s), dtype=torch.bool, device=s.device), -torch.inf)


def high_frequency(volumes: Tensor, *, as_authors: bool = False) -> Tensor:
    """H: the three high sub-bands of one Haar step within each axial slice, summed.

    [B, 1, K, I, J] → [B, 1, K, I/2, J/2]. With low (1, 1)/√2 and high (−1, 1)/√2 the sum over a
    block [[a, b], [c, d]] is 2 (d − (a + b + c + d)/4): Zhu et al. 2022. The published baselines
    sum the slices first, giving [B, 1, 1, I/2, J/2], and have (1, −1)/√2, hence a for d.
    """
    if as_authors:
        volumes = volumes.sum(2, keepdim=True)
    first = 0 if as_authors else 1
    return 2 * (volumes[..., first::2, first::2] - F.avg_pool3d(volumes, (1, 2, 2)))
