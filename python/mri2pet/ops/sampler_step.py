"""One denoising step of every sampler: a linear update with a row of coefficients, plus noise."""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.philox import MASK, philox_normal
from mri2pet.ops.registration import operation
from mri2pet.ops.tensors import dtype_name, same_device

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


@operation("mri2pet::sampler_step", devices=backend.NATIVE_DEVICES)
def _step(
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor,
    coefficients: Tensor,
    subjects: Tensor,
    samples: Tensor,
    seed: int,
    step: int,
) -> tuple[Tensor, Tensor]:
    """(x, x̃_0); every argument on one device, no gradient."""
    name = dtype_name("sampler_step", "output", output)
    x, output, previous_x0 = (t.contiguous() for t in (x, output, previous_x0))
    coefficients, subjects, samples = (
        t.contiguous() for t in (coefficients.double(), subjects.long(), samples.long())
    )
    new_x, x0 = torch.empty_like(x), torch.empty_like(x)
    params = backend.native().SamplerStep(
        (x.shape[0], x[:1].numel()),
        name,
        *(t.data_ptr() for t in (x, output, previous_x0, new_x, x0)),
        *(t.data_ptr() for t in (coefficients, subjects, samples)),
        seed,
        step,
    )
    backend.launch("sampler_step", params, x.device)
    return new_x, x0


@torch.library.register_fake(_step)
def _step_fake(x: Tensor, *others: object) -> tuple[Tensor, Tensor]:
    return tuple(x.new_empty(x.shape) for _ in range(2))  # type: ignore[return-value]


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
        coefficients: float64 [6], a row (a, b, c, d, p, q) of a sampler's table. A table on the
            device of x spares the native kernel a copy at each step.
        seed, step, subjects, samples: the coordinates of z, see `philox_normal`.

    Returns:
        (x, x̃_0), float32 [B, 1, K, I, J] each. There is no gradient, and no autocast rule: the
        native kernel takes `output` in any dtype as it is.

    Raises:
        ValueError: the shapes or devices do not fit, or seed or step is out of range.
        TypeError: x or previous x̃_0 is not float32.
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
    if x.dtype != torch.float32 or previous_x0.dtype != torch.float32:
        raise TypeError(f"sampler_step: x {tuple(x.shape)} and previous x̃_0 must be float32")
    if coefficients.shape != (len(COEFFICIENTS),):
        raise ValueError(f"sampler_step: coefficients {tuple(coefficients.shape)}, not (6,)")
    if not (0 <= seed <= MASK and 0 <= step <= MASK):
        raise ValueError(f"sampler_step: seed {seed} and step {step} must lie in 0 … 2³²−1")
    same_device("sampler_step", x, output=output, previous_x0=previous_x0)
    if backend.chosen("sampler_step", x) == "native":
        output = output.float() if output.dtype == torch.float64 else output
        rows = (t.to(x.device) for t in (coefficients, subjects, samples))
        return _step(x.detach(), output.detach(), previous_x0.detach(), *rows, seed, step)
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
