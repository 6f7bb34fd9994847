"""One denoising step of every sampler: a linear update with a row of coefficients, plus noise."""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.ops.philox import philox_normal

COEFFICIENTS = ("x", "output", "noise", "previous_x0", "x0_x", "x0_output")


def reference(
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor,
    coefficients: Tensor,
    *,
    seed: int,
    step: int,
    subjects: Tensor,
    samples: Tensor,
) -> tuple[Tensor, Tensor]:
    """The op in plain torch; arguments as in `sampler_step`."""
    a, b, c, d, p, q = coefficients.tolist()
    x0 = p * x + q * output
    new = a * x + b * output
    if d != 0:
        new = new + d * previous_x0
    if c != 0:
        noise = philox_normal(
            tuple(x.shape[1:]),
            seed=seed,
            step=step,
            subjects=subjects,
            samples=samples,
            device=x.device,
        )
        new = new + c * noise
    return new, x0


def sampler_step(
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor,
    coefficients: Tensor,
    *,
    seed: int,
    step: int,
    subjects: Tensor,
    samples: Tensor,
) -> tuple[Tensor, Tensor]:
    """x ← a·x + b·output + c·z + d·previous x̃_0, and x̃_0 = p·x + q·output.

    Args:
        x: float32 [B, 1, K, I, J], the current volume x_t.
        output: [B, 1, K, I, J], what the network predicted (ε or v); taken as float32.
        previous_x0: float32 [B, 1, K, I, J], x̃_0 of the step before (read if d ≠ 0).
        coefficients: float64 [6], a row (a, b, c, d, p, q) of a sampler's table.
        seed, step, subjects, samples: the coordinates of z, see `philox_normal`.

    Returns:
        (x, x̃_0), float32 [B, 1, K, I, J] each.

    Raises:
        ValueError: the shapes do not fit.
    """
    if output.shape != x.shape or previous_x0.shape != x.shape:
        raise ValueError(
            f"sampler_step: x {tuple(x.shape)}, output {tuple(output.shape)} and previous x̃_0 "
            f"{tuple(previous_x0.shape)} must have one shape"
        )
    if subjects.shape != x.shape[:1] or samples.shape != x.shape[:1]:
        raise ValueError(
            f"sampler_step: subjects {tuple(subjects.shape)} and samples {tuple(samples.shape)} "
            f"must name each of the {x.shape[0]} volumes"
        )
    return reference(
        x,
        output.to(torch.float32),
        previous_x0,
        coefficients,
        seed=seed,
        step=step,
        subjects=subjects,
        samples=samples,
    )
