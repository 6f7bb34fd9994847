"""The noise schedule: 1000 steps, β linear from 0.0015 to 0.02; index 0 is never used."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

STEPS = 1000
BETA_FIRST, BETA_LAST = 0.0015, 0.02


@cache
def beta() -> Tensor:
    """β_t, float32 [1000]."""
    return torch.linspace(BETA_FIRST, BETA_LAST, STEPS)


@cache
def alpha_bar() -> Tensor:
    """ᾱ_t = Π (1 − β), float32 [1000]."""
    return torch.cumprod(1 - beta(), dim=0)


_ON_DEVICE: dict[torch.device, Tensor] = {}


def alpha_bar_at(t: Tensor) -> Tensor:
    """ᾱ_t, float32 [B] on the device of t, int64 [B].

    The table is copied to a device once: a copy at every step would wait for it, and cannot be
    part of a CUDA graph.
    """
    if t.device.type == "cpu":
        return alpha_bar()[t]
    table = _ON_DEVICE.get(t.device)
    if table is None:
        with torch.inference_mode(False):
            table = alpha_bar().to(t.device)
        if type(table) is Tensor:  # not one of those that only count memory
            _ON_DEVICE[t.device] = table
    return table[t]


def _column(t: Tensor) -> Tensor:
    return alpha_bar_at(t).reshape(-1, 1, 1, 1, 1)


def add_noise(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε for volumes [B, 1, K, I, J] and t int64 [B]."""
    a = _column(t)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def velocity(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """v = √ᾱ_t ε − √(1−ᾱ_t) x_0 (Salimans & Ho 2022)."""
    a = _column(t)
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def noise_from_output(prediction: str, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """ε̃ from what the network predicts: itself, or √(1−ᾱ) x_t + √ᾱ ṽ."""
    if prediction == "epsilon":
        return output
    a = _column(t)
    return (1 - a).sqrt() * x_t + a.sqrt() * output


def x0_from_noise(x_t: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x̃_0 = (x_t − √(1−ᾱ_t) ε̃)/√ᾱ_t (the paper prints it without the bar, a slip)."""
    a = _column(t)
    return (x_t - (1 - a).sqrt() * noise) / a.sqrt()
