"""The mean of what was drawn of an MRI, without what chance does to the level of a few samples.

Along the directions of a linear denoiser (`nn.linear_denoiser`) people differ most and samples with
them, and there what the model expects is known in closed form. So the mean of K samples has that
level, and not the mean of K drawn ones, whose squared error is larger by a K-th of their variance:
a control variate whose expectation is known (Owen 2013, "Monte Carlo theory, methods and
examples", section 8.9). In all other directions it is the mean of the samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.engines.base import Engine
from mri2pet.engines.ensemble import Ensemble
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.imaging.suvr.reference import in_suvr


def drawn_in_suvr(engine: Engine, mris: Tensor, volumes: Tensor) -> list[Drawn]:
    """Samples and mean of each MRI; arguments as in `mean_of_samples`."""
    every = torch.cat((volumes, mean_of_samples(engine, mris, volumes)[:, None]), dim=1)[:, :, 0]
    learnt = (every.float().cpu() * engine.pet_std + engine.pet_mean).numpy()
    return [Drawn(of[:-1], of[-1]) for of in (in_suvr(o, engine.provenance) for o in learnt)]


@torch.inference_mode()
def mean_of_samples(engine: Engine, mris: Tensor, volumes: Tensor) -> Tensor:
    """The mean PET of each subject, in the unit of `volumes`.

    Args:
        mris: float32 [N, 1, K, I, J] in model space, in [0, 1].
        volumes: float32 [N, S, 1, K, I, J] of these MRIs, from `sampling.sample_subjects`.

    Returns:
        float32 [N, 1, K, I, J]. One sample is its own mean, so that it stays a draw; without a
        linear denoiser it is the mean of the samples.
    """
    mean, samples = volumes.mean(1), volumes.shape[1]
    if samples == 1:
        return mean
    if not isinstance(engine, Ensemble):
        return mean + torch.cat([_lacking(engine, *of) for of in zip(mris, mean, strict=True)])
    for member, numbers in engine.shares(samples):
        own = (volumes[:, numbers].mean(1) - member.pet_mean) / member.pet_std
        lacking = torch.cat([_lacking(member, *of) for of in zip(mris, own, strict=True)])
        mean = mean + lacking * (member.pet_std * len(numbers) / samples)
    return mean


def _lacking(engine: Engine, mri: Tensor, mean: Tensor) -> Tensor:
    """What a mean PET [1, K, I, J] lacks along the directions, standardised, [1, 1, K, I, J]."""
    if engine.config.family != "diffusion" or not engine.config.linear_components:
        return torch.zeros_like(mean)[None]
    of = engine.condition(mri[None], torch.zeros(1, dtype=torch.int64))
    assert of.expected is not None
    assert of.directions is not None
    rest = (of.expected - mean).flatten(1)
    return (rest @ of.directions.T @ of.directions).reshape(of.expected.shape)
