"""The sampling loop: one for every sampler and every engine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mri2pet.diffusion.graphed_loop import Evaluate, LoopArguments, Loops
from mri2pet.diffusion.samplers import SamplerTable
from mri2pet.diffusion.schedule import STEPS, alpha_bar
from mri2pet.ops import philox_normal, sampler_step


def run_table(
    evaluate: Evaluate,
    table: SamplerTable,
    bias_rows: Tensor,
    shape: tuple[int, int, int],
    *,
    seed: int,
    subjects: Tensor,
    samples: Tensor,
    on_step: Callable[[int, int], None] | None = None,
    loops: Loops | None = None,
    inputs: tuple[Tensor, ...] = (),
    expected: Tensor | None = None,
) -> Tensor:
    """Runs one batch of volumes through a table.

    Args:
        evaluate: (x_t [B, 1, K, I, J], bias row [B, R], *inputs) → the network's output.
        table: the sampler.
        bias_rows: [S, B, R], what depends on step and MRI (`nn.network.Network.block_biases`).
        shape: (K, I, J) of the PET grid.
        seed, subjects [B], samples [B]: the coordinates of the noise, see `philox_normal`.
        on_step: called with (steps done, steps) after each.
        loops: captured ones of `evaluate`; with them all steps are one CUDA graph.
        inputs: what `evaluate` reads beside x_t and the row, the same at all steps.
        expected: [B, 1, K, I, J], mean of x_0 given the MRI, of which the first x_t holds √ᾱ
            (`nn.linear_denoiser`); None takes 0, as Ho et al. 2020 do.

    Returns:
        float32 [B, 1, K, I, J], standardised.
    """
    device = bias_rows.device
    subjects, samples = subjects.to(device), samples.to(device)
    coordinates = {"seed": seed, "subjects": subjects, "samples": samples}
    coefficients = table.coefficients.to(device)
    x = philox_normal((1, *shape), step=STEPS, device=device, **coordinates)  # type: ignore[arg-type]
    if expected is not None:
        x += alpha_bar()[table.timesteps[0]].sqrt() * expected
    if loops is not None:
        timesteps = table.timesteps.to(device)
        arguments = LoopArguments(
            x, bias_rows, coefficients, timesteps, subjects, samples, seed, inputs
        )
        loop = loops.get(evaluate, arguments)
        if loop.works:
            return loop(arguments, on_step)
    x0 = torch.zeros_like(x)
    for i, t in enumerate(table.timesteps.tolist()):
        output = evaluate(x, bias_rows[i], *inputs)
        x, x0 = sampler_step(x, output, x0, coefficients[i], step=t, **coordinates)  # type: ignore[arg-type]
        if on_step is not None:
            on_step(i + 1, len(table))
    return x
