"""Ridge regression by products: the errors for left-out people are those of fits without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.nn.ridge import PENALTIES, Ridge


def made(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Centred volumes of 30 voxels, and a target that three of these tell a part of."""
    draw = np.random.default_rng(seed)
    volumes = draw.normal(size=(count, 30)) * np.linspace(2, 0.2, 30)
    target = volumes[:, :3].sum(axis=1) + draw.normal(size=count)
    return volumes - volumes.mean(axis=0), target


def ridge_of(volumes: np.ndarray, people: list[str] | None = None) -> Ridge:
    return Ridge(torch.from_numpy(volumes @ volumes.T), people)


def scale(volumes: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(volumes @ volumes.T).mean())


@pytest.mark.parametrize("people", [None, [f"p{n // 3}" for n in range(20)]])
def test_left_out_errors_are_those_of_fits_without_the_person(people):
    from sklearn.linear_model import Ridge as Reference

    volumes, target = made(20)
    names = np.array(people or [str(n) for n in range(20)])
    found = ridge_of(volumes, people).left_out
    for place in (0, 8, 16):
        errors = (found[place] @ torch.from_numpy(target)).numpy()
        for name in set(names):
            out = names == name
            other = Reference(alpha=PENALTIES[place] * scale(volumes), solver="cholesky")
            other.fit(volumes[~out], target[~out])
            wanted = target[out] - other.predict(volumes[out])
            np.testing.assert_allclose(errors[out], wanted, rtol=1e-6, atol=1e-8)


def test_the_weights_make_the_volume_that_predicts():
    volumes, target = made(20)
    ridge, centred = ridge_of(volumes), target - target.mean()
    coefficients = volumes.T @ ridge.weights(torch.from_numpy(centred), 8).numpy()
    penalty = PENALTIES[8] * scale(volumes)
    wanted = np.linalg.solve(volumes.T @ volumes + penalty * np.eye(30), volumes.T @ centred)
    np.testing.assert_allclose(coefficients, wanted, rtol=1e-8, atol=1e-10)


def test_the_least_error_is_best_and_of_equal_ones_the_largest_penalty():
    errors = [torch.tensor(float(n)) for n in (3, 1, 2, 1, 4)]
    assert Ridge.best(errors) == 3
    assert Ridge.best(errors[:3]) == 1


def test_volumes_without_any_difference_tell_nothing():
    ridge = ridge_of(np.zeros((6, 30)))
    target = torch.arange(6, dtype=torch.float64)
    for errors in ridge.left_out:
        others = (target.sum() - target) / 5
        torch.testing.assert_close(errors @ target, target - others)
