"""`sampler_step` in place, for the row of a sampler's table that a counter on the device names.

Nothing of a step comes from the host, so one captured CUDA graph serves all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.philox import MASK
from mri2pet.ops.registration import operation
from mri2pet.ops.sampler_step import COEFFICIENTS
from mri2pet.ops.sampler_step import reference as one_step
from mri2pet.ops.tensors import dtype_name, same_device


def reference(
    x: Tensor,
    output: Tensor,
    x0: Tensor,
    coefficients: Tensor,
    timesteps: Tensor,
    row: Tensor,
    *,
    seed: int,
    subjects: Tensor,
    samples: Tensor,
) -> None:
    """The op in plain torch; arguments as in `sampler_step_at`. Waits for the device."""
    i = int(row)
    place = {"seed": seed, "subjects": subjects, "samples": samples}
    new_x, new_x0 = one_step(x, output, x0, coefficients[i], step=int(timesteps[i]), **place)  # type: ignore[arg-type]
    x.copy_(new_x)
    x0.copy_(new_x0)


@operation("mri2pet::sampler_step_at", devices=backend.NATIVE_DEVICES, mutates=("x", "x0"))
def _step_at(
    x: Tensor,
    output: Tensor,
    x0: Tensor,
    coefficients: Tensor,
    timesteps: Tensor,
    row: Tensor,
    subjects: Tensor,
    samples: Tensor,
    seed: int,
) -> None:
    """Every argument on one device, contiguous and of its type; no gradient."""
    params = backend.native().SamplerStep(
        (x.shape[0], x[:1].numel()),
        dtype_name("sampler_step_at", "output", output),
        *(t.data_ptr() for t in (x, output, x0, x, x0)),
        *(t.data_ptr() for t in (coefficients, subjects, samples)),
        seed,
        0,
        row=row.data_ptr(),
        timesteps=timesteps.data_ptr(),
    )
    backend.launch("sampler_step", params, x.device)
    torch.autograd.graph.increment_version((x, x0))


@torch.library.register_fake(_step_at)
def _step_at_fake(*arguments: object) -> None:
    return None


def sampler_step_at(
    x: Tensor,
    output: Tensor,
    x0: Tensor,
    coefficients: Tensor,
    timesteps: Tensor,
    row: Tensor,
    *,
    seed: int,
    subjects: Tensor,
    samples: Tensor,
) -> None:
    """x ← a·x + b·output + c·z + d·x̃_0 and x̃_0 ← p·x + q·output, from the values of before.

    (a, b, c, d, p, q) = coefficients[row]. All tensors lie on one device, whose kernel reads row,
    coefficients and time step itself: queued n times, with 1 added to `row` after each, it does n
    steps, also as a CUDA graph.

    Args:
        x: float32 [B, 1, K, I, J], the current volume x_t; overwritten.
        output: [B, 1, K, I, J], what the network predicted; float32, bfloat16 or float16.
        x0: float32 [B, 1, K, I, J], x̃_0 of the step before (read if d ≠ 0); overwritten.
        coefficients: float64 [S, 6], a sampler's table.
        timesteps: int64 [S], the step of each row, a coordinate of z.
        row: int64 [1], 0 … S−1; not checked, because that would wait for the device.
        seed, subjects [B], samples [B]: the other coordinates of z, see `philox_normal`.

    Raises:
        ValueError: shapes or devices do not fit, a tensor is not contiguous, or seed is out of
            range.
        TypeError: a tensor of another type.
    """
    _check(x, output, x0, coefficients, timesteps, row, subjects, samples)
    if not 0 <= seed <= MASK:
        raise ValueError(f"sampler_step_at: seed {seed} must lie in 0 … 2³²−1")
    tables = (coefficients, timesteps, row)
    if backend.chosen("sampler_step_at", x) == "native":
        _step_at(x, output, x0, *tables, subjects, samples, seed)
        return
    place = {"seed": seed, "subjects": subjects, "samples": samples}
    reference(x, output.float(), x0, *tables, **place)  # type: ignore[arg-type]


def _check(
    x: Tensor,
    output: Tensor,
    x0: Tensor,
    coefficients: Tensor,
    timesteps: Tensor,
    row: Tensor,
    subjects: Tensor,
    samples: Tensor,
) -> None:
    batch, steps = x.shape[:1], timesteps.shape[:1]
    wanted = {
        "x": (x, x.shape, (torch.float32,)),
        "output": (output, x.shape, (torch.float32, torch.bfloat16, torch.float16)),
        "x0": (x0, x.shape, (torch.float32,)),
        "coefficients": (coefficients, (*steps, len(COEFFICIENTS)), (torch.float64,)),
        "timesteps": (timesteps, steps, (torch.int64,)),
        "row": (row, (1,), (torch.int64,)),
        "subjects": (subjects, batch, (torch.int64,)),
        "samples": (samples, batch, (torch.int64,)),
    }
    for name, (tensor, shape, dtypes) in wanted.items():
        is_so = tuple(tensor.shape) == tuple(shape)
        if not is_so or not tensor.is_contiguous():
            raise ValueError(
                f"sampler_step_at: {name} {tuple(tensor.shape)} must be {tuple(shape)}, contiguous"
            )
        if tensor.dtype not in dtypes:
            raise TypeError(f"sampler_step_at: {name} is {tensor.dtype}, not of {dtypes}")
    others = {name: tensor for name, (tensor, *_) in wanted.items() if name != "x"}
    same_device("sampler_step_at", x, **others)
