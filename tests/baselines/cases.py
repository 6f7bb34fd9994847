"""A small micro-batch, its networks and its draws, for the losses of all baselines."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mri2pet.baselines import find_baseline
from mri2pet.baselines.base import Phase
from mri2pet.baselines.draws import Draws
from mri2pet.config import Config, ModelConfig, parse_config

SHAPE = (16, 32, 32)


@dataclass
class Volumes:
    """A micro-batch as `mri2pet.baselines.base.Pairs`."""

    mri: Tensor
    pet: Tensor
    noise: Tensor
    t: Tensor


def volumes(count: int = 4, seed: int = 0) -> Volumes:
    generator = torch.Generator().manual_seed(seed)
    mri = torch.rand((count, 1, *SHAPE), generator=generator)
    pet = torch.rand((count, 1, *SHAPE), generator=generator) * 2 - 1
    noise = torch.randn((count, 1, *SHAPE), generator=generator)
    return Volumes(mri, pet, noise, torch.randint(1, 1000, (count,), generator=generator))


def configuration(*, prediction: str = "epsilon", training: dict | None = None, **baseline):
    """A configuration of 16 x 32 x 32 voxels with these settings of the section `baseline`."""
    model = ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE, prediction=prediction)
    return parse_config({
        "model": model.model_dump(),
        "training": training or {},
        "baseline": baseline,
    })  # fmt: skip


@torch.no_grad()
def make_loud(module: nn.Module, seed: int) -> None:
    """Weights under which volumes differ: with torch's own all features are nearly alike, and a
    consistency is lost in rounding."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            gain = 4.0 if ".grow." in name else 1.6
            scale = gain / math.prod(parameter.shape[1:]) ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


@dataclass
class Case:
    """One baseline over one micro-batch; its source is another network than what learns."""

    name: str
    config: Config = field(default_factory=configuration)
    batch: Volumes = field(default_factory=volumes)

    def __post_init__(self) -> None:
        self.baseline = find_baseline(self.name)
        self.parts = self.baseline.parts(self.config)
        made = self.baseline.parts(self.config) if self.baseline.source else {}
        for seed, modules in enumerate((self.parts, made)):
            for module in modules.values():
                make_loud(module, seed)
        self.sources: dict[str, nn.Module] = {
            name: module.requires_grad_(False).eval() for name, module in made.items()
        }

    def start_from_source(self) -> None:
        """What learns is equal to the source."""
        for name, source in self.sources.items():
            self.parts[name] = copy.deepcopy(source).requires_grad_().train()

    def draws(self, part: str) -> Draws:
        return Draws(0, part, 0, len(self.batch.mri), pairs=5)

    def loss(self, part: str, kind: str = "") -> dict[str, Tensor]:
        """The terms in a part's turn, with the same dropout every time."""
        for name, module in self.parts.items():
            module.requires_grad_(name == part)
        torch.manual_seed(7)
        return self.baseline.loss(
            Phase(part, kind), self.parts, self.sources, self.batch, self.draws(part), self.config
        )
