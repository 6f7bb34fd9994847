"""Distances between two sets of features: FID by moments or by rows, FID∞, KID between people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

KID_DEGREE = 3


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and sum of centred products [D, D] of features, float64."""

    count: int
    mean: np.ndarray
    products: np.ndarray

    @staticmethod
    def of(rows: np.ndarray) -> Moments:
        """Of features [n, D], n ≥ 1."""
        values = np.asarray(rows, dtype=np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return Moments(len(values), mean, centred.T @ centred)

    @staticmethod
    def streamed(chunks: Iterable[np.ndarray]) -> Moments:
        """Of chunks [n, D], one after the other.

        Raises:
            ValueError: no rows at all.
        """
        total: Moments | None = None
        for chunk in chunks:
            if len(chunk):
                found = Moments.of(chunk)
                total = found if total is None else total.merged(found)
        if total is None:
            raise ValueError("no features")
        return total

    def merged(self, other: Moments) -> Moments:
        """Of both sets together (Chan, Golub & LeVeque 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        products = self.products + other.products
        products += np.outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), products)

    @property
    def covariance(self) -> np.ndarray:
        """Sample covariance [D, D]. Raises ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two rows and more, not {self.count}")
        return self.products / (self.count - 1)

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric root of the covariance [D, D]."""
        values, vectors = np.linalg.eigh(self.covariance)
        return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)


def fid_of_moments(first: Moments, second: Moments) -> float:
    """Fréchet distance of the Gaussians with these moments.

    |μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) (Dowson & Landau 1982; Heusel et al. 2017). The trace of
    the root is Σ√λ of the symmetric Σ₁^½ Σ₂ Σ₁^½, so no number is complex.

    Raises:
        ValueError: fewer than two rows in a set, or another number of features.
    """
    a, b = first.covariance, second.covariance
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} features on one side, {len(b)} on the other")
    product = first.root @ b @ first.root
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    return _distance(first.mean, second.mean, np.trace(a), np.trace(b), float(overlap))


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of features [n, D] and [m, D].

    Where a set has fewer rows than features, Tr (Σ₁Σ₂)^½ is the sum of the singular values of X̄Ȳᵀ,
    rows centred and divided by √(n − 1): the same number from a smaller matrix.

    Raises:
        ValueError: fewer than two rows in a set, or another number of features.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"FID needs two rows and more: {len(first)} and {len(second)}")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} features on one side, {second.shape[1]} on the other")
    if min(len(first), len(second)) > first.shape[1]:
        return fid_of_moments(Moments.of(first), Moments.of(second))
    means, centred = [], []
    for rows in (first, second):
        values = np.asarray(rows, dtype=np.float64)
        means.append(values.mean(axis=0))
        centred.append((values - means[-1]) / np.sqrt(len(values) - 1))
    a, b = centred
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    traces = [float(np.square(rows).sum()) for rows in centred]
    return _distance(means[0], means[1], traces[0], traces[1], float(overlap))


def _distance(
    mean: np.ndarray, other: np.ndarray, trace: float, other_trace: float, overlap: float
) -> float:
    return float(((mean - other) ** 2).sum() + trace + other_trace - 2 * overlap)


def extrapolated(sizes: Iterable[int], distances: Iterable[float]) -> tuple[float, float]:
    """(intercept, slope) of the straight line of FID over 1/n: the intercept is FID∞.

    FID is biased upwards by about slope / n (Chong & Forsyth 2020, arXiv:1911.07023).
    """
    inverse = 1 / np.asarray(list(sizes), dtype=np.float64)
    slope, intercept = np.polyfit(inverse, np.asarray(list(distances)), 1)
    return float(intercept), float(slope)


def kid(first: np.ndarray, second: np.ndarray) -> float:
    """Kernel distance over all pairs of rows, unbiased (Bińkowski et al. 2018, arXiv:1801.01401).

    MMD² with the kernel (xᵀy / D + 1)³; features [n, D] and [m, D].

    Raises:
        ValueError: fewer than two rows in a set.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise ValueError(f"KID needs two rows and more: {n} and {m}")
    within = [kernel(rows, rows) for rows in (first, second)]
    one, two = ((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within)
    return float(one + two - 2 * kernel(first, second).mean())


def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(xᵀy / D + 1)³ of all pairs of rows, float64 [n, m]."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.asarray((x @ y.T / x.shape[1] + 1) ** KID_DEGREE)


@dataclass(frozen=True)
class PeopleKernel:
    """Kernel sums and pair counts [people, people] of the three terms of a KID between people.

    Only pairs of slices of different people count, in all three terms: slices of one person are
    alike, and with the diagonal left out two copies of one person never meet in a resample.
    """

    real: np.ndarray
    drawn: np.ndarray
    cross: np.ndarray
    real_pairs: np.ndarray
    drawn_pairs: np.ndarray
    cross_pairs: np.ndarray

    @staticmethod
    def of(real: list[np.ndarray], drawn: list[np.ndarray], *, same_people: bool) -> PeopleKernel:
        """Of features [n, D] of each person.

        Args:
            same_people: the lists hold the same people in the same order, so that a person's
                measured slices do not meet the ones drawn from the same MRI.
        """
        parts = []
        for one, two, apart in (
            (real, real, True),
            (drawn, drawn, True),
            (real, drawn, same_people),
        ):
            parts.append(_between_people(one, two, apart))
        (rr, n_rr), (dd, n_dd), (rd, n_rd) = parts
        return PeopleKernel(rr, dd, rd, n_rr, n_dd, n_rd)

    def kid(self, counts: np.ndarray, drawn_counts: np.ndarray | None = None) -> np.ndarray:
        """KID of draws of people: counts [..., people] → [...].

        Args:
            drawn_counts: of the drawn side where it holds other people; default the same.
        """
        other = counts if drawn_counts is None else drawn_counts

        def term(sums: np.ndarray, pairs: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(((c @ sums) * d).sum(-1) / ((c @ pairs) * d).sum(-1))

        return np.asarray(
            term(self.real, self.real_pairs, counts, counts)
            + term(self.drawn, self.drawn_pairs, other, other)
            - 2 * term(self.cross, self.cross_pairs, counts, other)
        )


def _between_people(
    one: list[np.ndarray], two: list[np.ndarray], apart: bool
) -> tuple[np.ndarray, np.ndarray]:
    columns = np.concatenate(two).astype(np.float64)  # once, not for every person
    edges = np.cumsum([0, *(len(rows) for rows in two)])
    sums = np.stack(
        [np.add.reduceat(kernel(rows, columns).sum(axis=0), edges[:-1]) for rows in one]
    )
    pairs = np.outer([len(rows) for rows in one], [len(rows) for rows in two]).astype(np.float64)
    if apart:
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(pairs, 0)
    return sums, pairs
