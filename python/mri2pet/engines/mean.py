"""The mean of what was drawn of an MRI, without what chance does to the level of a few samples.

Along the directions of a linear denoiser (`nn.linear_denoiser`) people differ most and samples with
them, and there what the model expects is known in closed form. So the mean of K samples has that
level, and not the mean of K drawn ones, whose squared error is larger by a K-th of their variance:
a control variate whose expectation is known (Owen 2013, "Monte Carlo theory, methods and
examples", section 8.9). In all other directions it is the mean of the samples. A model that learnt
PETs without a scale (`minmax`) has the mean of the volumes in its own unit, which is divided by its
cerebellum like each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mri2pet.devices import whole_float32
from mri2pet.engines.base import Engine
from mri2pet.engines.ensemble import Ensemble, members_of
from mri2pet.imaging.suvr.drawn import EXPECTED_LEVEL, OF_THE_SAMPLES, Drawn
from mri2pet.imaging.suvr.reference import in_suvr


def drawn_in_suvr(engine: Engine, mris: Tensor, volumes: Tensor) -> list[Drawn]:
    """Samples and mean of each MRI; arguments as in `mean_of_samples`."""
    every = torch.cat((volumes, mean_of_samples(engine, mris, volumes)[:, None]), dim=1)[:, :, 0]
    learnt = (every.float().cpu() * engine.pet_std + engine.pet_mean).numpy()
    return [Drawn(of[:-1], of[-1]) for of in (in_suvr(o, engine.provenance) for o in learnt)]


def described_mean(engine: Engine, samples: int) -> str:
    """`EXPECTED_LEVEL`, or `OF_THE_SAMPLES` where the mean of so many is that alone."""
    expected = samples > 1 and any(map(_has_level, members_of(engine)))
    return EXPECTED_LEVEL if expected else OF_THE_SAMPLES


@torch.inference_mode()
def mean_of_samples(engine: Engine, mris: Tensor, volumes: Tensor) -> Tensor:
    """The mean PET of each subject, in the unit of `volumes`.

    Args:
        mris: float32 [N, 1, K, I, J] in model space, in [0, 1].
        volumes: float32 [N, S, 1, K, I, J] of these MRIs, from `sampling.sample_subjects`.

    Returns:
        float32 [N, 1, K, I, J]. One sample is its own mean, so that it stays a draw; without a
        linear denoiser it is the mean of the samples. Each model of an ensemble says the level of
        its own samples' mean, and the means are weighted by how many samples each drew.
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
    if not _has_level(engine):
        return torch.zeros_like(mean)[None]
    of = engine.condition(mri[None], torch.zeros(1, dtype=torch.int64))
    assert of.expected is not None
    assert of.directions is not None
    return projected(of.expected - mean, of.directions)


def projected(volumes: Tensor, directions: Tensor) -> Tensor:
    """Volumes [B, …] projected onto orthonormal directions [P, voxels], of their shape."""
    with whole_float32(), torch.autocast(volumes.device.type, enabled=False):
        return (volumes.flatten(1) @ directions.T @ directions).reshape(volumes.shape)


def _has_level(engine: Engine) -> bool:
    return engine.config.family == "diffusion" and engine.config.linear_components > 0
