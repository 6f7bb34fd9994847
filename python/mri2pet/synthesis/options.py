"""What a user can choose about a synthesis, checked before any work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.devices import DEVICES
from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mri2pet.engines.choose import Named
    from mri2pet.quantification import Quantification

SAMPLERS = ("dpmpp", "ddim", "ddpm")
ENGINES = ("auto", "torch", "onnxruntime", "tensorrt")

MAX_STEPS = 999
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class SynthesisOptions:
    """The choices of one run, the same for all its subjects.

    Raises:
        UsageError: a value out of its range, or two options that exclude each other, or an
            extractor that is not installed.
    """

    model: Named | Sequence[Named] = "demo"
    samples: int = 4
    sampler: str = "dpmpp"
    steps: int = 25
    seed: int = 0
    device: str = "auto"
    engine: str = "auto"
    precision: str | None = None
    skull_stripped: bool = False
    brain_mask: Path | None = None
    assume_ras: bool = False
    extractor: str = "auto"
    overwrite: bool = False
    atlas: Path | None = None
    labels: Path | None = None
    target: Path | None = None
    reference: Path | None = None
    centiloid: str | None = None
    threshold: str | None = None

    def __post_init__(self) -> None:
        _require_choice("sampler", self.sampler, SAMPLERS)
        _require_choice("device", self.device, DEVICES)
        _require_choice("engine", self.engine, ENGINES)
        if self.samples < 1:
            raise UsageError(f"--samples {self.samples}: at least one sample is needed")
        if not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(f"--steps {self.steps}: choose a number from 1 to {MAX_STEPS}")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"--seed {self.seed}: choose a number from 0 to {MAX_SEED}")
        if self.skull_stripped and self.brain_mask is not None:
            raise UsageError("--skull-stripped and --brain-mask exclude each other: give one")
        from mri2pet.imaging.brain.extraction import check_extractor

        check_extractor(self.extractor)

    def settings(self) -> dict[str, Any]:
        """What decides the result beside the image and the model, as the sidecar stores it.

        Raises:
            InputError: the brain mask cannot be read.
        """
        return {
            "seed": self.seed,
            "sampler": self.sampler,
            "steps": self.steps,
            "samples": self.samples,
            "skull_stripped": self.skull_stripped,
            "brain_mask_sha256": _file_sha256(self.brain_mask) if self.brain_mask else None,
            "assume_ras": self.assume_ras,
            "extractor": self.extractor,
            "deepbet": self._deepbet(),
        }

    def quantification(self) -> Quantification | None:
        """What is to be measured beside the built-in composite; None where nothing is asked.

        Raises:
            UsageError, InputError: what `Quantification.of` raises.
        """
        from mri2pet.quantification import Quantification

        return Quantification.asked(
            atlas=self.atlas,
            labels=self.labels,
            target=self.target,
            reference=self.reference,
            centiloid=self.centiloid,
            threshold=self.threshold,
        )

    def _deepbet(self) -> str | None:
        """The version of deepbet that may find the brain."""
        from mri2pet.imaging.brain import deepbet

        known = self.skull_stripped or self.brain_mask is not None
        return None if known or self.extractor not in ("auto", "deepbet") else deepbet.version()


def _require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{option} {value}: choose one of {', '.join(choices)}")


def _file_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        cannot = f"{path}: cannot read the brain mask ({error.strerror})."
        raise InputError(missing_target(path) or cannot) from None
