"""Scores: known answers, scikit-learn, and draws of people as repeated rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mri2pet.downstream.scores import class_scores, confusion, number_scores, of_all

from .conftest import random_of, wave

CALLED = {"f1_macro": "f1", "auroc_ovr_macro": "auroc", "precision_macro": "precision"}


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def classes_of(reference):
    count, seed = reference["inputs"]["count"], reference["inputs"]["seed"]
    labels = random_of("labels", seed).randint(0, 3, count)
    logits = wave("logits", (count, 3), 1, seed=seed).astype(np.float64)
    return labels, softmax(logits + 1.2 * np.eye(3)[labels])


def test_known_answers_of_classification(reference):
    labels, p = classes_of(reference)
    people = [str(i) for i in range(len(labels))]
    found = of_all(class_scores(labels, p, people), len(people))
    known = dict(reference["downstream"]["classification"])
    assert confusion(labels, p) == known.pop("confusion")
    assert {CALLED.get(name, name): value for name, value in known.items()} == {
        CALLED.get(name, name): pytest.approx(found[CALLED.get(name, name)], abs=1e-9)
        for name in known
    }
    constant = np.tile([1.0, 0, 0], (len(labels), 1))
    always = of_all(class_scores(labels, constant, people), len(people))
    for name, value in reference["downstream"]["always_class_0"].items():
        assert always[CALLED.get(name, name)] == pytest.approx(value, abs=1e-9)
    assert always["auroc"] == 0.5


def test_known_answers_of_regression(reference):
    count, seed = reference["inputs"]["count"], reference["inputs"]["seed"]
    mmse = np.clip(np.round(wave("mmse", (count,), 2.5, 27, seed).astype(np.float64)), 20, 30)
    predicted = 0.5 * mmse + 13.5 + wave("mmse_predicted", (count,), 1.5, seed=seed)
    people = [str(i) for i in range(count)]
    found = of_all(number_scores(mmse, predicted, people), count)
    assert found == {
        name: pytest.approx(value, abs=1e-6)
        for name, value in reference["downstream"]["regression"].items()
    }


def test_constant_predictions_have_no_correlation():
    found = of_all(number_scores([1.0, 2, 4], [2.0, 2, 2], list("abc")), 3)
    assert np.isnan(found["pearson"])
    assert found["mse"] == pytest.approx(5 / 3)


def test_draws_of_people_are_repeated_rows():
    """Scikit-learn on the rows of each draw, with classes that are absent and tied scores."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    people = [f"p{i // 2}" for i in range(24)]
    labels = rng.integers(0, 3, 24)
    p = softmax(rng.normal(size=(24, 3)).round(1))
    counts = rng.multinomial(4, np.full(12, 1 / 12), size=30).astype(float)
    found = {name: score(counts) for name, score in class_scores(labels, p, people).items()}
    for b, drawn in enumerate(counts):
        rows = np.repeat(np.arange(24), drawn.astype(int)[np.arange(24) // 2])
        y, q = labels[rows], p[rows]
        options = {"average": "macro", "zero_division": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = {
                "accuracy": metrics.accuracy_score(y, q.argmax(1)),
                "f1": metrics.f1_score(y, q.argmax(1), **options),
                "precision": metrics.precision_score(y, q.argmax(1), **options),
                "recall": metrics.recall_score(y, q.argmax(1), **options),
                "balanced_accuracy": metrics.balanced_accuracy_score(y, q.argmax(1)),
            }
        each = [metrics.roc_auc_score(y == c, q[:, c]) for c in set(y) if 0 < (y == c).mean() < 1]
        expected["auroc"] = np.mean(each) if each else np.nan
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, nan_ok=True), name
