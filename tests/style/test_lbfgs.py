"""Many L-BFGS problems in a batch take the steps that torch's takes on each alone."""

from __future__ import annotations

import pytest
import torch

from mri2pet.style.lbfgs import minimise

SIZE = 6
PROBLEMS = 7


def problems():
    """Quadratics of unlike scale with valleys or waves, one solved: losses [S] of x [S, N]."""
    generator = torch.Generator().manual_seed(3)
    matrices = torch.randn(PROBLEMS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    matrices = matrices @ matrices.transpose(1, 2) / SIZE + 0.05 * torch.eye(SIZE)
    scale = torch.logspace(-3, 1, PROBLEMS, dtype=torch.float64)
    start = torch.randn(PROBLEMS, SIZE, generator=generator, dtype=torch.float64)
    start[3] = 0.0

    def losses(x, rows):
        quadratic = torch.einsum("ai,aij,aj->a", x, matrices[rows], x) * scale[rows]
        valley = 0.05 * (x[:, 1:] - x[:, :-1] ** 2).square().sum(1)
        wave = 0.1 * (1 - torch.cos(3 * x)).sum(1)
        return quadratic + torch.where(rows % 2 == 0, valley, wave)

    return start, losses


def batched(start, losses, **options):
    def evaluate(x, rows):
        x = x.detach().requires_grad_()
        value = losses(x, rows)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    return minimise(start, evaluate, **options)


def alone(start, losses, row, steps, noise=None, **options):
    """torch's own, with each gradient off by 2e-16 of itself when a generator is given."""
    x = start[row : row + 1].clone().requires_grad_()
    optimiser = torch.optim.LBFGS([x], max_iter=steps, max_eval=10 * steps, **options)

    def closure():
        optimiser.zero_grad()
        loss = losses(x, torch.tensor([row])).sum()
        loss.backward()
        if noise is not None:
            x.grad.mul_(1 + 2.2e-16 * torch.randn(x.shape, generator=noise).sign().double())
        return loss

    optimiser.step(closure)
    return x.detach()[0], optimiser.state[x]["n_iter"]


@pytest.mark.parametrize("history", [1, 3, 100])
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_every_problem_goes_the_way_it_goes_alone(history, steps):
    start, losses = problems()
    found = batched(start, losses, steps=steps, history=history)
    for row in range(PROBLEMS):
        x, _ = alone(start, losses, row, steps, history_size=history)
        torch.testing.assert_close(found.x[row], x, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("history", [1, 3])
def test_long_runs_part_from_torch_no_more_than_torch_from_itself(history):
    """In a flat valley rounding grows from step to step, here from 1e-14 at 17 steps to 1e-5."""
    start, losses = problems()
    found = batched(start, losses, steps=60, history=history)
    for row in range(PROBLEMS):
        x, _ = alone(start, losses, row, 60, history_size=history)
        spread = max(
            (alone(start, losses, row, 60, noise, history_size=history)[0] - x).abs().max()
            for noise in (torch.Generator().manual_seed(seed) for seed in range(4))
        )
        assert (found.x[row] - x).abs().max() <= 20 * spread + 1e-15


def test_problems_stop_each_at_its_own_time():
    start, losses = problems()
    found = batched(start, losses, steps=200, tolerance_change=1e-6)
    assert found.steps[3] == 0
    assert len(set(found.steps.tolist())) > 3
    assert found.steps.max() < 200
    for row in range(PROBLEMS):
        x, count = alone(start, losses, row, 200, tolerance_change=1e-6, history_size=100)
        torch.testing.assert_close(found.x[row], x, rtol=1e-7, atol=1e-9)
        if row != 3:
            # torch counts an iteration that only finds out that it must stop.
            assert count - found.steps[row] in (0, 1)


def test_the_problems_still_running_are_the_only_ones_evaluated():
    start, losses = problems()
    sizes = []

    def counted(x, rows):
        sizes.append(len(rows))
        return losses(x, rows)

    batched(start, counted, steps=200, tolerance_change=1e-6)
    assert sizes[0] == PROBLEMS
    assert sizes[-1] < PROBLEMS
    assert sizes == sorted(sizes, reverse=True)


def test_a_problem_that_overflows_stops_alone_where_it_was_finite():
    start = torch.tensor([[1.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    calls = []

    def evaluate(x, rows):
        calls.append(rows.tolist())
        loss, gradient = x.square().sum(1), 2 * x
        if len(calls) == 2:
            loss = torch.where(rows == 0, torch.inf, loss)
        return loss, gradient

    found = minimise(start, evaluate, steps=10)
    assert found.diverged.tolist() == [True, False]
    torch.testing.assert_close(found.x[0], start[0])
    torch.testing.assert_close(found.x[1], torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert calls[2] == [1]


def test_the_start_is_not_changed_and_nonsense_is_refused():
    start, losses = problems()
    before = start.clone()
    batched(start, losses, steps=3)
    assert torch.equal(start, before)
    with pytest.raises(ValueError, match="steps 0"):
        batched(start, losses, steps=0)
    with pytest.raises(ValueError, match="start"):
        batched(start[0], losses, steps=2)
