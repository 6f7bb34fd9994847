"""Several models as one: sample k is drawn by model k mod M."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from mri2pet.config import ModelConfig
from mri2pet.descriptions import hash_of
from mri2pet.engines.base import Engine
from mri2pet.errors import ModelError, UsageError
from mri2pet.imaging.suvr.reference import recorded_reference
from mri2pet.memory import MemoryPlan, sampling_plan

#: What the members must have in common.
SAME: dict[str, Callable[[Engine], Any]] = {
    "MRI grid": lambda engine: engine.config.mri_shape,
    "PET grid": lambda engine: engine.config.pet_shape,
    "family": lambda engine: engine.config.family,
    "reference of its SUVR": lambda engine: recorded_reference(engine.provenance)["name"],
    "engine": lambda engine: engine.engine,
    "precision": lambda engine: engine.precision,
}


class Ensemble:
    """Models that take turns: runs of other seeds, or checkpoints of one run.

    What it draws is in the unit that the members learnt, not standardised: each member's own mean
    and deviation are undone, so `pet_mean` is 0 and `pet_std` 1. Sample k is, bit for bit, the
    sample k of its member alone.

    Args:
        members: M engines; their order counts.
        called: what messages call them; by default their names.

    Raises:
        ModelError: members that differ in `SAME`, or one that is there twice; names both.
    """

    pet_mean = 0.0
    pet_std = 1.0

    def __init__(self, members: Sequence[Engine], called: Sequence[str] = ()) -> None:
        names = list(called) or [member.name for member in members]
        first = members[0]
        for place, (name, member) in enumerate(zip(names, members, strict=True)):
            for what, of in SAME.items():
                if of(member) != of(first):
                    raise ModelError(
                        f"{name}: cannot draw together with {names[0]}, whose {what} is "
                        f"{_text(of(first))} and not {_text(of(member))}; name models that agree "
                        "in it"
                    )
            for other in range(place):
                if members[other].sha256 == member.sha256:
                    raise ModelError(
                        f"{name}: is the same model as {names[other]}; name each model once"
                    )
        self.members = tuple(members)
        self.engine, self.precision = first.engine, first.precision
        self.config: ModelConfig = first.config
        self.device: torch.device = first.device

    @property
    def batch(self) -> int | None:
        """What the smallest of them takes."""
        return min((m.batch for m in self.members if m.batch is not None), default=None)

    @property
    def name(self) -> str:
        """Their names, in their order."""
        return " + ".join(member.name for member in self.members)

    @property
    def sha256(self) -> str:
        """Of their hashes, in their order."""
        return hash_of({"members": [member.sha256 for member in self.members]})

    @property
    def provenance(self) -> dict[str, Any]:
        """The members' own, and the reference that they share."""
        return {
            "reference": recorded_reference(self.members[0].provenance),
            "members": [
                {"name": m.name, "sha256": m.sha256, "provenance": m.provenance}
                for m in self.members
            ],
        }

    def shares(self, samples: int) -> list[tuple[Engine, list[int]]]:
        """Each member with the numbers of the samples that it draws.

        Raises:
            UsageError: fewer samples than members.
        """
        count = len(self.members)
        if samples < count:
            raise UsageError(
                f"samples must be at least {count}, not {samples}: each of the {count} models "
                "draws one"
            )
        return [(m, list(range(place, samples, count))) for place, m in enumerate(self.members)]

    def condition(self, mri: Tensor, timesteps: Tensor) -> NoReturn:
        """Raises ModelError: its members are conditioned, each by itself."""
        raise ModelError(f"{self.name}: is an ensemble, whose members draw by themselves")


def members_of(engine: Engine) -> tuple[Engine, ...]:
    """The engines that draw: an ensemble's members, or the engine itself."""
    return engine.members if isinstance(engine, Ensemble) else (engine,)


def check_samples(engine: Engine, samples: int) -> None:
    """Refuse fewer samples than an ensemble has members.

    Raises:
        UsageError: what `Ensemble.shares` raises.
    """
    if isinstance(engine, Ensemble):
        engine.shares(samples)


def described_members(engine: Engine) -> list[dict[str, str]]:
    """Name and SHA-256 of each member of an ensemble, for records; empty for a single model."""
    if not isinstance(engine, Ensemble):
        return []
    return [{"name": member.name, "sha256": member.sha256} for member in engine.members]


def memory_plan(engine: Engine) -> MemoryPlan:
    """What sampling with it will allocate; all members of an ensemble are held at once."""
    first, *others = (member.config for member in members_of(engine))
    return sampling_plan(first, str(engine.device), others=others)


def _text(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
