"""The sampling loop: one for every sampler and every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mri2pet.diffusion.graphed_loop import LoopArguments, Loops
from mri2pet.diffusion.samplers import SamplerTable, make_table
from mri2pet.diffusion.schedule import STEPS
from mri2pet.errors import UsageError
from mri2pet.ops import philox_normal, sampler_step

if TYPE_CHECKING:
    from mri2pet.checkpoint import Model
    from mri2pet.engines.base import Engine

Denoiser = Callable[[Tensor, Tensor], Tensor]


def run_table(
    denoiser: Denoiser,
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
) -> Tensor:
    """Runs one batch of volumes through a table.

    Args:
        denoiser: (x_t [B, 1, K, I, J], bias row [B, 360]) → the network's output.
        table: the sampler.
        bias_rows: [S, B, 360], the block biases of every step.
        shape: (K, I, J) of the PET grid.
        seed, subjects [B], samples [B]: the coordinates of the noise, see `philox_normal`.
        on_step: called with (steps done, steps) after each.
        loops, inputs: see `engines.base.Conditioned`; with them all steps are one CUDA graph.

    Returns:
        float32 [B, 1, K, I, J], standardised.
    """
    device = bias_rows.device
    subjects, samples = subjects.to(device), samples.to(device)
    coordinates = {"seed": seed, "subjects": subjects, "samples": samples}
    coefficients = table.coefficients.to(device)
    x = philox_normal((1, *shape), step=STEPS, device=device, **coordinates)  # type: ignore[arg-type]
    if loops is not None:
        timesteps = table.timesteps.to(device)
        arguments = LoopArguments(
            x, bias_rows, coefficients, timesteps, subjects, samples, seed, inputs
        )
        loop = loops.get(arguments)
        if loop.works:
            return loop(arguments, on_step)
    x0 = torch.zeros_like(x)
    for i, t in enumerate(table.timesteps.tolist()):
        output = denoiser(x, bias_rows[i])
        x, x0 = sampler_step(x, output, x0, coefficients[i], step=t, **coordinates)  # type: ignore[arg-type]
        if on_step is not None:
            on_step(i + 1, len(table))
    return x


@torch.inference_mode()
def sample(
    model: Model | Engine,
    mri: Tensor,
    *,
    samples: int = 4,
    sampler: str = "dpmpp",
    steps: int = 25,
    eta: float = 0.0,
    seed: int = 0,
    subject: int = 0,
    batch: int = 1,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Samples of one subject.

    Args:
        model: from `load_model`, or an engine from `engines.load_engine`.
        mri: float32 [1, 1, K, I, J] in model space, in [0, 1].
        samples: how many volumes to draw.
        sampler, steps, eta: see `diffusion.samplers.make_table`.
        seed: 0 … 2³²−1; with `subject` (64 bits) and the sample's number it fixes the result.
        batch: volumes per network evaluation; changes time and memory, not the result.
        on_step: called with (network evaluations done, of how many) as the run goes on.

    Returns:
        float32 [samples, 1, K, I, J], standardised: SUVR = x · model.pet_std + model.pet_mean.

    Raises:
        UsageError: an unknown sampler, or steps, samples or seed out of range.
    """
    if samples < 1:
        raise UsageError(f"samples must be at least 1, not {samples}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must lie in 0 … {2**32 - 1}, not {seed}")
    engine = _engine(model)
    table = make_table(sampler, engine.config.prediction, steps, eta=eta)
    conditioned = engine.condition(mri, table.timesteps)
    signed = subject - 2**64 if subject >= 2**63 else subject
    batch = min(batch, engine.batch or batch)
    groups = [range(i, min(i + batch, samples)) for i in range(0, samples, batch)]
    volumes = []
    for done, group in enumerate(groups):

        def progress(step: int, of: int, done: int = done) -> None:
            if on_step is not None:
                on_step(done * of + step, len(groups) * of)

        volumes.append(
            run_table(
                conditioned.denoise,
                table,
                conditioned.bias_rows[:, None].expand(-1, len(group), -1),
                engine.config.pet_shape,
                seed=seed,
                subjects=torch.full((len(group),), signed),
                samples=torch.tensor(list(group)),
                on_step=progress,
                loops=conditioned.loops,
                inputs=conditioned.inputs,
            )
        )
    return torch.cat(volumes)


def _engine(model: Model | Engine) -> Engine:
    from mri2pet.checkpoint import Model
    from mri2pet.engines.torch_engine import TorchEngine

    return TorchEngine(model) if isinstance(model, Model) else model
