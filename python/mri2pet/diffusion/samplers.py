"""Samplers as tables of coefficients: one row a step, one loop and one update for all of them.

With x̃_0 = p·x + q·output the update of every sampler here is
x ← a·x + b·output + c·z + d·previous x̃_0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mri2pet.diffusion.schedule import STEPS, alpha_bar
from mri2pet.errors import UsageError

SAMPLERS = ("dpmpp", "ddim", "ddpm")


@dataclass(frozen=True)
class SamplerTable:
    """One sampling run.

    timesteps: int64 [S], falling; coefficients: float64 [S, 6], rows (a, b, c, d, p, q).
    """

    name: str
    timesteps: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)


def spaced_timesteps(steps: int) -> list[int]:
    """`steps` indices from 999 down to 1, evenly spaced.

    Raises:
        UsageError: not within 1 … 999.
    """
    if not 1 <= steps <= STEPS - 1:
        raise UsageError(f"steps must lie in 1 … {STEPS - 1}, not {steps}")
    if steps == 1:
        return [STEPS - 1]
    width = (STEPS - 2) / (steps - 1)
    return [STEPS - 1 - round(i * width) for i in range(steps)]


def make_table(
    name: str,
    prediction: str,
    steps: int | None = None,
    *,
    timesteps: Sequence[int] | None = None,
    eta: float = 0.0,
) -> SamplerTable:
    """The table of a sampler.

    Args:
        name: "ddpm" (Ho et al. 2020; with 999 steps the paper's sampling), "ddim" (Song et al.
            2021, with η) or "dpmpp" (DPM-Solver++(2M), Lu et al. 2022, midpoint form).
        prediction: what the network predicts, "epsilon" or "v".
        steps: the number of network evaluations, 1 … 999, evenly spaced.
        timesteps: instead of `steps`, the falling indices themselves.
        eta: DDIM's η in [0, 1]: 0 is deterministic.

    Raises:
        UsageError: an unknown sampler, or steps outside 1 … 999.
    """
    if name not in SAMPLERS:
        raise UsageError(f"unknown sampler {name!r}; there are {', '.join(SAMPLERS)}")
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie in [0, 1], not {eta}")
    times = list(timesteps) if timesteps is not None else spaced_timesteps(steps or 0)
    if name == "ddpm":
        rows = _ddpm(times, prediction)
    elif name == "ddim":
        rows = _ddim(times, prediction, eta)
    else:
        rows = _dpmpp(times, prediction)
    return SamplerTable(name, torch.tensor(times), torch.tensor(rows, dtype=torch.float64))


def _alpha_bars(times: list[int], last: float) -> list[tuple[float, float]]:
    """(ᾱ_t, ᾱ of the step that follows) of each step; `last` follows the last one."""
    values = [float(alpha_bar()[t]) for t in times]
    return list(zip(values, [*values[1:], last], strict=True))


def _x0_coefficients(prediction: str, a: float) -> tuple[float, float]:
    """(p, q) with x̃_0 = p·x + q·output."""
    if prediction == "epsilon":
        return 1 / math.sqrt(a), -math.sqrt((1 - a) / a)
    return math.sqrt(a), -math.sqrt(1 - a)


def _noise_coefficients(prediction: str, a: float) -> tuple[float, float]:
    """(p, q) with ε̃ = p·x + q·output."""
    if prediction == "epsilon":
        return 0.0, 1.0
    return math.sqrt(1 - a), math.sqrt(a)


def _ddpm(times: list[int], prediction: str) -> list[list[float]]:
    """Ancestral sampling; after the last index comes index 0, as in the paper, without noise."""
    rows = []
    pairs = _alpha_bars(times, float(alpha_bar()[0]))
    for i, (now, after) in enumerate(pairs):
        alpha = now / after
        p, q = _noise_coefficients(prediction, now)
        scale = (1 - alpha) / math.sqrt(1 - now)
        noise = 0.0 if i == len(times) - 1 else math.sqrt(1 - alpha)
        rows.append(
            [
                (1 - scale * p) / math.sqrt(alpha),
                -scale * q / math.sqrt(alpha),
                noise,
                0.0,
                *_x0_coefficients(prediction, now),
            ]
        )
    return rows


def _ddim(times: list[int], prediction: str, eta: float) -> list[list[float]]:
    """Equation 12 of the DDIM paper; the last step goes to ᾱ = 1, to x̃_0 itself."""
    rows = []
    for now, after in _alpha_bars(times, 1.0):
        sigma = eta * math.sqrt((1 - after) / (1 - now)) * math.sqrt(1 - now / after)
        direction = math.sqrt(max(1 - after - sigma**2, 0.0))
        (xp, xq), (ep, eq) = (
            _x0_coefficients(prediction, now),
            _noise_coefficients(prediction, now),
        )
        root = math.sqrt(after)
        rows.append([root * xp + direction * ep, root * xq + direction * eq, sigma, 0.0, xp, xq])
    return rows


def _dpmpp(times: list[int], prediction: str) -> list[list[float]]:
    """DPM-Solver++(2M); the first step is of first order, the last one goes to x̃_0 itself."""
    rows = []
    previous_h = None
    for now, after in _alpha_bars(times, 1.0):
        p, q = _x0_coefficients(prediction, now)
        if after == 1.0:
            rows.append([p, q, 0.0, 0.0, p, q])
            continue
        h = _log_snr(after) - _log_snr(now)
        gain = -math.sqrt(after) * math.expm1(-h)
        second = 0.0 if previous_h is None else h / (2 * previous_h)
        x0_gain = gain * (1 + second)
        ratio = math.sqrt((1 - after) / (1 - now))
        rows.append([ratio + x0_gain * p, x0_gain * q, 0.0, -gain * second, p, q])
        previous_h = h
    return rows


def _log_snr(a: float) -> float:
    """λ = log(√ᾱ / √(1−ᾱ))."""
    return 0.5 * (math.log(a) - math.log1p(-a))
