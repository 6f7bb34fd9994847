"""How good predictions are, for all people and for draws of people at once.

A score is prepared from the scans of one run and then takes counts [B, P], how often each of P
people is in each of B draws, and gives [B] values: ten thousand draws are a few products. Counts
of one are the people as they are. Formulas are those of scikit-learn's `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mri2pet.evaluation.intervals import (
    MEAN,
    MEAN_ABSOLUTE_DIFFERENCE,
    PEARSON,
    Statistic,
    by_person,
)

OfDraws = Callable[[np.ndarray], np.ndarray]
"""Counts [B, P] → values [B], NaN where a draw does not define them."""

_HIGH = ["accuracy", "f1", "balanced_accuracy", "auroc", "precision", "recall", "r2", "pearson"]
HIGH_IS_BETTER = dict.fromkeys(_HIGH, True) | dict.fromkeys(("mse", "mae"), False)


def class_scores(
    truth: Sequence[int], probabilities: np.ndarray, people: Sequence[str]
) -> dict[str, OfDraws]:
    """Accuracy, macro F1, balanced accuracy, AUROC (one against the rest, macro), macro precision
    and recall.

    F1, precision and recall average over the classes that are true or predicted of anybody in a
    draw, undefined ones as 0; balanced accuracy and AUROC over those where they are defined.

    Args:
        truth: class of each of n scans.
        probabilities: [n, classes].
        people: of each scan.
    """
    labels, p = np.asarray(truth), np.asarray(probabilities, dtype=np.float64)
    classes = p.shape[1]
    cells = np.zeros((len(labels), classes * classes))
    cells[np.arange(len(labels)), labels * classes + p.argmax(1)] = 1
    confusions = by_person(cells, people)
    found = {name: _of_tables(of, confusions, classes) for name, of in _OF_CONFUSION.items()}
    return {**found, "auroc": _auroc(labels, p, people)}


def _of_tables(
    of: Callable[[np.ndarray], np.ndarray], confusions: np.ndarray, classes: int
) -> OfDraws:
    return lambda counts: of((counts @ confusions).reshape(-1, classes, classes))


def confusion(truth: Sequence[int], probabilities: np.ndarray) -> list[list[int]]:
    """[true class][predicted class] → scans."""
    classes = np.shape(probabilities)[1]
    table = np.zeros((classes, classes), dtype=int)
    np.add.at(table, (np.asarray(truth), np.argmax(probabilities, axis=1)), 1)
    return [[int(count) for count in row] for row in table]


def number_scores(
    truth: Sequence[float], predicted: Sequence[float], people: Sequence[str]
) -> dict[str, OfDraws]:
    """MSE, MAE, R² and Pearson's r; r is NaN for predictions without spread.

    Args:
        truth, predicted: of each of n scans.
        people: of each scan.
    """
    y, x = (np.asarray(values, dtype=np.float64) for values in (truth, predicted))
    return {
        "mse": _of(MEAN, people, (y - x) ** 2),
        "mae": _of(MEAN_ABSOLUTE_DIFFERENCE, people, y, x),
        "r2": _of(R2, people, y - y.mean(), x - y.mean()),
        "pearson": _of(PEARSON, people, y, x),
    }


def of_all(scores: dict[str, OfDraws], people: int) -> dict[str, float]:
    """The values of the people as they are."""
    once = np.ones((1, people))
    return {name: float(score(once)[0]) for name, score in scores.items()}


def _of(statistic: Statistic, people: Sequence[str], *columns: np.ndarray) -> OfDraws:
    sums = by_person(statistic.sums(*columns), people)
    return lambda counts: statistic.of(counts @ sums)


def _r2(totals: np.ndarray) -> np.ndarray:
    n, y, yy, squared = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = yy - y * y / n
        return np.where(spread > 0, 1 - squared / spread, math.nan)


R2 = Statistic(lambda y, x: np.stack([np.ones_like(y), y, y * y, (y - x) ** 2], axis=-1), _r2)
"""1 − Σ(y − x)² / Σ(y − ȳ)²."""


def _accuracy(tables: np.ndarray) -> np.ndarray:
    return _ratio(np.trace(tables, axis1=1, axis2=2), tables.sum(axis=(1, 2)))


def _recall(tables: np.ndarray) -> np.ndarray:
    return _mean_of_seen(tables, tables.sum(axis=2))


def _precision(tables: np.ndarray) -> np.ndarray:
    return _mean_of_seen(tables, tables.sum(axis=1))


def _f1(tables: np.ndarray) -> np.ndarray:
    return _mean_of_seen(tables, (tables.sum(axis=1) + tables.sum(axis=2)) / 2)


def _balanced_accuracy(tables: np.ndarray) -> np.ndarray:
    shares = _ratio(_hits(tables), tables.sum(axis=2))
    return _mean_of_defined(shares)


def _mean_of_seen(tables: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Mean of hits / `of` over the classes that are true or predicted, 0 where `of` is 0."""
    seen = tables.sum(axis=1) + tables.sum(axis=2) > 0
    shares = np.nan_to_num(_ratio(_hits(tables), of))
    return _ratio((shares * seen).sum(axis=1), seen.sum(axis=1))


def _hits(tables: np.ndarray) -> np.ndarray:
    return np.diagonal(tables, axis1=1, axis2=2)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))


_OF_CONFUSION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
}


def _auroc(labels: np.ndarray, p: np.ndarray, people: Sequence[str]) -> OfDraws:
    """Share of pairs of a scan of the class and one of another where the first has the higher
    probability, ties half: cᵀWc over pairs of people, for counts c."""
    parts = []
    for place in range(p.shape[1]):
        own = (labels == place).astype(np.float64)
        difference = p[:, None, place] - p[None, :, place]
        won = (difference > 0) + (difference == 0) / 2
        won *= own[:, None] * (1 - own)[None, :]
        pairs = by_person(by_person(won, people).T, people).T
        parts.append((pairs, by_person(np.stack([own, 1 - own], axis=-1), people)))

    def of_draws(counts: np.ndarray) -> np.ndarray:
        found = []
        for pairs, sizes in parts:
            totals = counts @ sizes
            found.append(_ratio(((counts @ pairs) * counts).sum(axis=1), totals.prod(axis=1)))
        return _mean_of_defined(np.stack(found, axis=1))

    return of_draws
