"""Volumes of one subject or of many, drawn with any engine, by steps or by a generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from mri2pet.checkpoint import Model
from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.engines.base import Engine
from mri2pet.engines.choose import engine_of
from mri2pet.engines.ensemble import Ensemble
from mri2pet.engines.generator_engine import GeneratorEngine
from mri2pet.errors import UsageError


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
    """Samples of one subject; arguments as in `sample_subjects`.

    Args:
        mri: float32 [1, 1, K, I, J] in model space, in [0, 1].
        subject: 0 … 2⁶⁴−1.

    Returns:
        float32 [samples, 1, K, I, J], standardised: SUVR = x · model.pet_std + model.pet_mean.
    """
    return sample_subjects(
        model,
        mri,
        [subject],
        samples=samples,
        sampler=sampler,
        steps=steps,
        eta=eta,
        seed=seed,
        batch=batch,
        on_step=on_step,
    )[0]


@torch.inference_mode()
def sample_subjects(
    model: Model | Engine,
    mris: Tensor,
    subjects: Sequence[int],
    *,
    samples: int = 4,
    sampler: str = "dpmpp",
    steps: int = 25,
    eta: float = 0.0,
    seed: int = 0,
    batch: int = 1,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Samples of several subjects, in batches that may mix them.

    Args:
        model: from `load_model`, or an engine from `engines.load_engine`.
        mris: float32 [N, 1, K, I, J] in model space, in [0, 1].
        subjects: N numbers, 0 … 2⁶⁴−1.
        samples: how many volumes to draw of each.
        sampler, steps, eta: see `diffusion.samplers.make_table`; not for the generator of a GAN,
            which draws in one evaluation.
        seed: 0 … 2³²−1; with the subject's and the sample's number it fixes the result.
        batch: volumes per network evaluation; changes time and memory, not the result.
        on_step: called with (network evaluations done, of how many) as the run goes on.

    Returns:
        float32 [N, samples, 1, K, I, J], standardised: SUVR = x · model.pet_std + model.pet_mean.

    Raises:
        UsageError: an unknown sampler; steps, samples or seed out of range; not one number for
            each MRI; fewer samples than an ensemble has models.
    """
    if samples < 1:
        raise UsageError(f"samples must be at least 1, not {samples}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must lie in 0 … {2**32 - 1}, not {seed}")
    if not len(mris) == len(subjects) > 0:
        raise UsageError(f"{len(mris)} MRIs and {len(subjects)} subjects do not go together")
    engine = _engine(model)
    drawn = partial(
        _drawn,
        mris=mris,
        subjects=subjects,
        sampler=sampler,
        steps=steps,
        eta=eta,
        seed=seed,
        batch=min(batch, engine.batch or batch),
    )
    if not isinstance(engine, Ensemble):
        return drawn(engine, range(samples), on_step=on_step)
    shares = engine.shares(samples)
    volumes = torch.empty((len(mris), samples, 1, *engine.config.pet_shape), device=engine.device)
    for place, (member, numbers) in enumerate(shares):

        def part(done: int, of: int, place: int = place) -> None:
            if on_step is not None:
                on_step(place * of + done, len(shares) * of)

        volumes[:, numbers] = (
            drawn(member, numbers, on_step=part) * member.pet_std + member.pet_mean
        )
    return volumes


def _drawn(
    engine: Engine,
    numbers: Sequence[int],
    *,
    mris: Tensor,
    subjects: Sequence[int],
    sampler: str,
    steps: int,
    eta: float,
    seed: int,
    batch: int,
    on_step: Callable[[int, int], None] | None,
) -> Tensor:
    """The samples of these numbers of every subject: [N, numbers, 1, K, I, J], standardised."""
    volumes = [(subject, number) for subject in range(len(mris)) for number in numbers]
    groups = [volumes[i : i + batch] for i in range(0, len(volumes), batch)]
    if isinstance(engine, GeneratorEngine):
        drawn = _generated(engine, mris, subjects, groups, seed, on_step)
        return torch.cat(drawn).unflatten(0, (len(mris), len(numbers)))
    table = make_table(sampler, engine.config.prediction, steps, eta=eta)
    conditioned = [engine.condition(mri[None], table.timesteps) for mri in mris]
    drawn = []
    for done, group in enumerate(groups):

        def progress(step: int, of: int, done: int = done) -> None:
            if on_step is not None:
                on_step(done * of + step, len(groups) * of)

        people = [conditioned[subject] for subject, _ in group]
        inputs = tuple(
            torch.cat(tensors) for tensors in zip(*(p.inputs for p in people), strict=True)
        )
        expected = [p.expected for p in people if p.expected is not None]
        drawn.append(
            run_table(
                people[0].evaluate,
                table,
                torch.stack([p.bias_rows for p in people], dim=1),
                engine.config.pet_shape,
                seed=seed,
                subjects=torch.tensor([_signed(subjects[subject]) for subject, _ in group]),
                samples=torch.tensor([i for _, i in group]),
                on_step=progress,
                loops=people[0].loops,
                inputs=inputs,
                expected=torch.cat(expected) if expected else None,
            )
        )
    return torch.cat(drawn).unflatten(0, (len(mris), len(numbers)))


def _generated(
    engine: GeneratorEngine,
    mris: Tensor,
    subjects: Sequence[int],
    groups: list[list[tuple[int, int]]],
    seed: int,
    on_step: Callable[[int, int], None] | None,
) -> list[Tensor]:
    """The volumes of every group of (place of the subject, sample), by one evaluation each."""
    conditions = torch.cat([engine.encode(mri[None]) for mri in mris])
    drawn = []
    for done, group in enumerate(groups):
        places = [place for place, _ in group]
        drawn.append(
            engine.draw(
                conditions[places],
                seed=seed,
                subjects=[_signed(subjects[place]) for place in places],
                samples=[sample for _, sample in group],
            )
        )
        if on_step is not None:
            on_step(done + 1, len(groups))
    return drawn


def _signed(number: int) -> int:
    """The int64 with the bits of a 64-bit number."""
    return number - 2**64 if number >= 2**63 else number


def _engine(model: Model | Engine) -> Engine:
    if not isinstance(model, Model):
        return model
    if model.engine is None:
        model.engine = engine_of(model)
    engine: Engine = model.engine
    return engine
