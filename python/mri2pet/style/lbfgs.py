"""L-BFGS for many independent problems in one batch.

Every row is a problem of its own, with its own history, step, and convergence: the iterates
are those of `torch.optim.LBFGS` without line search on each row alone, to rounding. Only the
function is evaluated for all rows together. Two-loop recursion: Nocedal & Wright 2006,
Numerical Optimization, algorithm 7.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

#: (x [A, N], rows [A]) → (loss [A], gradient [A, N]) of the problems `rows`.
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_MIN_CURVATURE = 1e-10


@dataclass(frozen=True)
class Minimum:
    """Where each problem ended.

    Attributes:
        x: `[S, N]`.
        loss: `[S]`, the last one evaluated (one step before `x` when the steps ran out, as
            with `torch.optim.LBFGS`).
        steps: int64 `[S]`, steps taken.
        diverged: bool `[S]`, the loss was no longer finite; `x` is then the last point with a
            finite loss.
    """

    x: Tensor
    loss: Tensor
    steps: Tensor
    diverged: Tensor


@dataclass
class _History:
    """Curvature pairs of the active problems, oldest first.

    `rho` is 0 where a row does not have the pair: it was skipped there, or is too old.
    """

    size: int
    steps: list[Tensor] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    rho: list[Tensor] = field(default_factory=list)

    def append(self, step: Tensor, change: Tensor, curvature: Tensor) -> None:
        """Add the pair of every row whose curvature [A] is large enough; forget the oldest."""
        usable = curvature > _MIN_CURVATURE
        if not bool(usable.any()):
            return
        rho = torch.where(usable, 1.0 / curvature, torch.zeros_like(curvature))
        self.steps.append(step)
        self.changes.append(change)
        self.rho.append(rho)
        if len(self.rho) <= self.size:
            return
        count = torch.zeros_like(curvature, dtype=torch.long)
        for values in reversed(self.rho):
            count += values != 0
            values[count > self.size] = 0.0
        while not bool(self.rho[0].any()):
            del self.steps[0], self.changes[0], self.rho[0]

    def keep(self, rows: Tensor) -> None:
        """Drop all but these rows."""
        for pairs in (self.steps, self.changes, self.rho):
            pairs[:] = [values[rows] for values in pairs]

    def direction(self, gradient: Tensor, scale: Tensor) -> Tensor:
        """The two-loop recursion: −H g, with H₀ = `scale` [A]."""
        direction = gradient.neg()
        alphas = []
        for step, change, rho in zip(
            reversed(self.steps), reversed(self.changes), reversed(self.rho), strict=True
        ):
            alpha = _dot(step, direction) * rho
            direction.addcmul_(change, alpha[:, None], value=-1.0)
            alphas.append(alpha)
        direction.mul_(scale[:, None])
        for step, change, rho in zip(self.steps, self.changes, self.rho, strict=True):
            beta = _dot(change, direction) * rho
            direction.addcmul_(step, (alphas.pop() - beta)[:, None])
        return direction


def minimise(
    start: Tensor,
    evaluate: Evaluate,
    *,
    steps: int,
    history: int = 100,
    learning_rate: float = 1.0,
    tolerance_gradient: float = 1e-7,
    tolerance_change: float = 1e-9,
) -> Minimum:
    """Take at most `steps` L-BFGS steps on every row.

    Args:
        start: `[S, N]`, one problem per row; not changed.
        evaluate: called with the problems still running.
        steps: as `max_iter` of `torch.optim.LBFGS`; the other defaults are its own.

    Raises:
        ValueError: `start` is not two-dimensional, `steps` or `history` below 1.
    """
    if start.ndim != 2 or steps < 1 or history < 1:
        raise ValueError(f"start {tuple(start.shape)}, steps {steps}, history {history}")
    x = start.detach().clone()
    rows = torch.arange(len(x), device=x.device)
    loss, gradient = evaluate(x, rows)
    state = Minimum(
        x.clone(), loss.clone(), torch.zeros_like(rows), torch.zeros_like(rows, dtype=torch.bool)
    )
    pairs = _History(history)
    scale = torch.ones_like(loss)
    moved = before = torch.empty(0)
    going = gradient.abs().amax(1) > tolerance_gradient
    for step in range(steps):
        if step:
            change = gradient - before
            curvature = _dot(change, moved)
            pairs.append(moved, change, curvature)
            scale = torch.where(curvature > _MIN_CURVATURE, curvature / _dot(change, change), scale)
        direction = pairs.direction(gradient, scale)
        length = torch.full_like(loss, learning_rate)
        if step == 0:
            length *= (1.0 / gradient.abs().sum(1)).clamp(max=1.0)
        going &= _dot(gradient, direction) <= -tolerance_change
        if not bool(going.all()):
            rows, x, loss, gradient, scale, direction, length = (
                v[going] for v in (rows, x, loss, gradient, scale, direction, length)
            )
            pairs.keep(going)
        if not len(rows):
            break
        before, loss_before, moved = gradient, loss, direction.mul_(length[:, None])
        x = x + moved
        state.steps[rows] += 1
        if step == steps - 1:
            state.x[rows] = x
            break
        loss, gradient = evaluate(x, rows)
        finite = torch.isfinite(loss) & torch.isfinite(gradient).all(1)
        state.diverged[rows] = ~finite
        state.x[rows[finite]] = x[finite]
        state.loss[rows[finite]] = loss[finite]
        going = finite & (gradient.abs().amax(1) > tolerance_gradient)
        going &= moved.abs().amax(1) > tolerance_change
        going &= (loss - loss_before).abs() >= tolerance_change
    return state


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of rows: [A, N], [A, N] → [A]."""
    return torch.linalg.vecdot(a, b)
