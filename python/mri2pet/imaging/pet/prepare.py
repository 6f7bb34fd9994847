"""A measured PET in model space: static, on its MRI, scaled to SUVR: `prepare_pet`.

`place_pet` is the part of it that model space has nothing to do with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.imaging.pet.fit import PetFit, measure_fit, refuse_misfit
from mri2pet.imaging.pet.frames import FrameMotion, PetSeries, StaticPet, read_pet, static_pet
from mri2pet.imaging.space.model_space import pet_to_model_space
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, Reference, reference_level

Shape = tuple[int, int, int]
OnStage = Callable[[str, "float | None"], None]


@dataclass(frozen=True, eq=False)
class PreparedPet:
    """A PET in model space, and what was done to it.

    Attributes:
        kij: float32 `[K, I, J]` on the PET grid: SUVR, or 0 to 1 for `minmax`; 0 outside the
            brain mask dilated by one voxel.
        volume: the static PET on its own grid, SUVR (raw for `minmax`).
        t1_from_pet: 4 x 4, PET RAS mm → T1 RAS mm.
        scale_to_suvr: SUVR per raw unit; None for `minmax`.
        reference: what it was scaled by.
        motion: one entry per frame; empty for a static PET.
        fit: figures of the registration to the T1.
        frames: numbers, from 0, of the frames that count, and their durations (s).
        warnings: what was mended, chosen or assumed, one sentence each.
    """

    kij: np.ndarray
    volume: Volume
    t1_from_pet: np.ndarray
    scale_to_suvr: float | None
    reference: Reference
    motion: tuple[FrameMotion, ...]
    fit: PetFit
    frames: dict[str, list[float]]
    warnings: tuple[str, ...]

    def details(self) -> dict[str, Any]:
        """What was done, as JSON takes it."""
        return {
            "t1_from_pet": self.t1_from_pet.tolist(),
            "pet_reference": self.reference.name,
            "pet_unit": self.reference.unit,
            "pet_scale_to_suvr": self.scale_to_suvr,
            "pet_fit": self.fit.as_dict(),
            "pet_frames": self.frames,
            "pet_motion": [frame.as_dict() for frame in self.motion],
            "pet_warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class PlacedPet:
    """A static PET that fits its T1: what was read, its mean over time, its transform and fit."""

    series: PetSeries
    static: StaticPet
    t1_from_pet: np.ndarray
    fit: PetFit


def place_pet(
    source: Any,
    t1: Volume,
    brain_mask: np.ndarray,
    *,
    degrees_of_freedom: int = 12,
    on_stage: OnStage | None = None,
) -> PlacedPet:
    """Align and average the frames of a PET, and register it to the T1 of the same person.

    Args: as of `prepare_pet`.

    Raises:
        InputError: the PET cannot be used, or does not fit the T1; one sentence.
    """
    from mri2pet.imaging.pet.to_t1 import register_to_t1

    series = source
    if not isinstance(source, PetSeries):
        series = _timed(on_stage, "read PET", lambda: read_pet(source))
    static = _timed(on_stage, "PET motion", lambda: static_pet(series))
    t1_from_pet = _timed(
        on_stage,
        "PET to T1",
        lambda: register_to_t1(static.volume, t1, brain_mask, degrees_of_freedom),
    )
    fit = measure_fit(static.volume, t1, brain_mask, t1_from_pet)
    refuse_misfit(series.name, fit)
    return PlacedPet(series, static, t1_from_pet, fit)


def prepare_pet(
    source: Any,
    t1: Volume,
    brain_mask: np.ndarray,
    template_from_t1: np.ndarray,
    brain_kij: np.ndarray,
    pet_shape: Shape,
    *,
    reference: Reference | None = None,
    degrees_of_freedom: int = 12,
    on_stage: OnStage | None = None,
) -> PreparedPet:
    """Bring a measured PET of one or several frames to model space.

    Frames are aligned and averaged (`frames`), registered to the T1, scaled, and
    resampled once, with windowed sinc, onto the model grid.

    Args:
        source: path, nibabel image, or what `read_pet` returned.
        t1: the T1 of the same person on its own grid.
        brain_mask: bool `[X, Y, Z]` on the grid of `t1`.
        template_from_t1: 4 x 4, T1 RAS mm → template RAS mm.
        brain_kij: brain fraction `[K, I, J]` on any model grid (`mask_to_model_space`).
        pet_shape: (K, I, J).
        reference: what becomes 1 SUVR, default the whole cerebellum; or `minmax`: (x − min) /
            (max − min) of the volume in model space, as the authors of MRI2PET scale theirs.
        degrees_of_freedom: 12 (affine, the paper's) or 6 (rigid).
        on_stage: called with a stage's name and None when it starts, its seconds when it ends.

    Raises:
        InputError: the PET cannot be used, or does not fit the T1; one sentence.
    """
    reference = reference or Reference.of(CEREBELLUM)
    placed = place_pet(
        source, t1, brain_mask, degrees_of_freedom=degrees_of_freedom, on_stage=on_stage
    )
    series, static, t1_from_pet = placed.series, placed.static, placed.t1_from_pet
    template_from_pet = template_from_t1 @ t1_from_pet
    volume, scale = static.volume, None
    if reference.key != MINMAX:
        scale = 1.0 / reference_level(series.name, volume, reference, template_from_pet)
        volume = Volume(volume.data * np.float32(scale), volume.affine, "SUVR")
    kij = _timed(
        on_stage,
        "PET to model space",
        lambda: pet_to_model_space(
            volume, template_from_pet, brain_kij, pet_shape, interpolation="sinc"
        ),
    )
    if reference.key == MINMAX:
        kij = minmax(kij)
    count = len(series.frames)
    frames: dict[str, list[float]] = {
        "numbers": list(series.numbers or range(count)),
        "seconds": list(series.seconds or (1.0,) * count),
    }
    return PreparedPet(
        kij,
        volume,
        t1_from_pet,
        scale,
        reference,
        static.motion,
        placed.fit,
        frames,
        series.warnings,
    )


def _timed(on_stage: OnStage | None, stage: str, work: Callable[[], Any]) -> Any:
    if on_stage is None:
        return work()
    on_stage(stage, None)
    began = time.perf_counter()
    result = work()
    on_stage(stage, time.perf_counter() - began)
    return result


def minmax(values: np.ndarray) -> np.ndarray:
    """(x − min) / (max − min), float32; all 0 when the values do not differ."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values, dtype=np.float32)
    return ((values - low) / (high - low)).astype(np.float32)
