"""A measured PET in model space: static, on its MRI, scaled to SUVR.

`prepare_pet` does all of it for one subject; `region_mean_mm` measures a region at the PET's
own resolution, wherever the region's file puts its voxels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.dynamic_pet import FrameMotion, PetSeries, read_pet, static_pet
from mri2pet.imaging.model_space import pet_to_model_space
from mri2pet.imaging.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.volume import Volume

Shape = tuple[int, int, int]
OnStage = Callable[[str, "float | None"], None]

SCALINGS = ("suvr", "minmax")
BUILT_IN_REFERENCE = "whole cerebellum, built in"
MIN_COVERED = 0.9


@dataclass(frozen=True, eq=False)
class Reference:
    """The region whose mean uptake is 1 SUVR.

    Attributes:
        mask: 0 or 1 (or fractions) in template space, RAS mm.
        name: what is recorded: the built-in definition, or the file and its SHA-256.
    """

    mask: Volume
    name: str

    @classmethod
    def built_in(cls) -> Reference:
        """The whole cerebellum of `imaging.regions`."""
        from mri2pet.imaging.regions import cerebellum

        return cls(cerebellum(2), BUILT_IN_REFERENCE)

    @classmethod
    def from_file(cls, path: Path | str) -> Reference:
        """A VOI file in template (MNI) space.

        Raises:
            InputError: it cannot be read, is not 3D, or holds no voxel above 0.5.
        """
        mask = read_voi(path)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return cls(mask, f"{Path(path).name}, sha256 {digest}")


@dataclass(frozen=True, eq=False)
class PreparedPet:
    """A PET in model space, and what was done to it.

    Attributes:
        kij: float32 `[K, I, J]` on the PET grid: SUVR, or 0 to 1 for `minmax`; 0 outside the
            brain mask dilated by one voxel.
        volume: the static PET on its own grid, SUVR (raw for `minmax`).
        t1_from_pet: 4 x 4, PET RAS mm → T1 RAS mm.
        scaling: `"suvr"` or `"minmax"`.
        scale_to_suvr: SUVR per raw unit; None for `minmax`.
        reference: name of the reference region; None for `minmax`.
        motion: one entry per frame; empty for a static PET.
    """

    kij: np.ndarray
    volume: Volume
    t1_from_pet: np.ndarray
    scaling: str
    scale_to_suvr: float | None
    reference: str | None
    motion: tuple[FrameMotion, ...]

    def details(self) -> dict[str, Any]:
        """What was done, as JSON takes it."""
        return {
            "t1_from_pet": self.t1_from_pet.tolist(),
            "pet_scaling": self.scaling,
            "pet_scale_to_suvr": self.scale_to_suvr,
            "pet_reference": self.reference,
            "pet_motion": [frame.as_dict() for frame in self.motion],
        }


def prepare_pet(
    source: Any,
    t1: Volume,
    brain_mask: np.ndarray,
    template_from_t1: np.ndarray,
    brain_kij: np.ndarray,
    pet_shape: Shape,
    *,
    scaling: str = "suvr",
    reference: Reference | None = None,
    degrees_of_freedom: int = 12,
    on_stage: OnStage | None = None,
) -> PreparedPet:
    """Bring a measured PET of one or several frames to model space.

    Frames are aligned and averaged (`dynamic_pet`), registered to the T1, scaled, and
    resampled once, with windowed sinc, onto the model grid.

    Args:
        source: path, nibabel image, or what `read_pet` returned.
        t1: the T1 of the same person on its own grid.
        brain_mask: bool `[X, Y, Z]` on the grid of `t1`.
        template_from_t1: 4 x 4, T1 RAS mm → template RAS mm.
        brain_kij: brain fraction `[K, I, J]` on any model grid (`mask_to_model_space`).
        pet_shape: (K, I, J).
        scaling: `"suvr"` (mean of the reference region 1), or `"minmax"`: (x − min) / (max −
            min) of the volume in model space, as the authors of MRI2PET scale theirs.
        reference: default `Reference.built_in()`.
        degrees_of_freedom: 12 (affine, the paper's) or 6 (rigid).
        on_stage: called with a stage's name and None when it starts, its seconds when it ends.

    Raises:
        InputError: the PET cannot be used; one sentence.
        UsageError: unknown scaling.
    """
    import time

    from mri2pet.imaging.pet_registration import register_to_t1

    check_scaling(scaling)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        if on_stage is None:
            return work()
        on_stage(stage, None)
        began = time.perf_counter()
        result = work()
        on_stage(stage, time.perf_counter() - began)
        return result

    series = (
        source if isinstance(source, PetSeries) else timed("read PET", lambda: read_pet(source))
    )
    static = timed("PET motion", lambda: static_pet(series))
    t1_from_pet = timed(
        "PET to T1", lambda: register_to_t1(static.volume, t1, brain_mask, degrees_of_freedom)
    )
    template_from_pet = template_from_t1 @ t1_from_pet
    volume, scale, name = static.volume, None, None
    if scaling == "suvr":
        region = reference or Reference.built_in()
        level = reference_level(series.name, volume, region, template_from_pet)
        scale, name = 1.0 / level, region.name
        volume = Volume(volume.data * np.float32(scale), volume.affine, "SUVR")
    kij = timed(
        "PET to model space",
        lambda: pet_to_model_space(
            volume, template_from_pet, brain_kij, pet_shape, interpolation="sinc"
        ),
    )
    if scaling == "minmax":
        kij = minmax(kij)
    return PreparedPet(kij, volume, t1_from_pet, scaling, scale, name, static.motion)


def check_scaling(scaling: str) -> None:
    """Refuse an unknown scaling.

    Raises:
        UsageError: it names the known ones.
    """
    if scaling not in SCALINGS:
        raise UsageError(f"PET scaling {scaling!r} is none of {', '.join(SCALINGS)}.")


def minmax(values: np.ndarray) -> np.ndarray:
    """(x − min) / (max − min), float32; all 0 when the values do not differ."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values, dtype=np.float32)
    return ((values - low) / (high - low)).astype(np.float32)


def reference_level(
    name: str, pet: Volume, reference: Reference, template_from_pet: np.ndarray
) -> float:
    """Mean of a PET (its own unit) in a reference region of template space.

    Raises:
        InputError: the PET does not cover the region, or has no signal in it; names the PET.
    """
    mean, covered = region_mean_mm(pet, reference.mask, template_from_pet)
    if covered < MIN_COVERED:
        raise InputError(
            f"{name}: its field of view holds only {100 * covered:.0f} % of the reference region "
            f"({reference.name}); give a PET that covers the cerebellum."
        )
    if not mean > 0:
        raise InputError(
            f"{name}: holds no signal in the reference region ({reference.name}) after "
            "registration; check that this PET and MRI are of one person."
        )
    return mean


def region_mean_mm(
    pet: Volume, region: Volume, region_from_pet: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean of a PET over a region that lies on another grid.

    The PET is read at the region's voxel centres by linear interpolation; the region's values
    are weights.

    Args:
        pet: any unit.
        region: weights 0 to 1.
        region_from_pet: 4 x 4, PET RAS mm → region RAS mm; None for the same space.

    Returns:
        The mean, in the PET's unit, over the voxels inside the PET's field of view, and the
        share of the region that is inside.
    """
    between = np.eye(4) if region_from_pet is None else np.linalg.inv(region_from_pet)
    box = bounding_box(region.data > 0)
    weights = np.asarray(region.data[box], dtype=np.float64)
    place = (pet.affine, weights.shape, crop_affine(region.affine, box), between)
    values = resample(pet.data, *place)
    inside = resample(np.ones(pet.shape, dtype=np.float32), *place) > 0.5
    total, seen = float(weights.sum()), float((weights * inside).sum())
    if total <= 0 or seen <= 0:
        return 0.0, 0.0
    return float((values * weights * inside).sum()) / seen, seen / total


def read_voi(path: Path | str) -> Volume:
    """A volume of interest in template space: weights 0 or 1.

    The voxels lie where the sform says; the qform counts only without one. Some published VOI
    files (the Centiloid project's among them) carry a qform with two axes flipped, which tools
    that prefer the qform obey.

    Raises:
        InputError: unreadable, not 3D, without orientation, or without a voxel above 0.5.
    """
    import nibabel

    try:
        image = nibabel.load(path)
        values = np.squeeze(np.asarray(image.dataobj, dtype=np.float32))  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path.") from None
    except (nibabel.filebasedimages.ImageFileError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a VOI image ({error}).") from None
    if values.ndim != 3:
        raise InputError(f"{path}: has {values.ndim} axes; give a VOI image with three.")
    codes = [int(image.header.get(f"{form}_code", 1)) for form in ("sform", "qform")]  # type: ignore[attr-defined]
    if not any(code > 0 for code in codes):
        raise InputError(
            f"{path}: its header does not say where its voxels lie (no sform or qform code); "
            "give a VOI in template space."
        )
    weights = (values > 0.5).astype(np.float32)
    if not weights.any():
        raise InputError(f"{path}: holds no voxel above 0.5; give a VOI image of zeros and ones.")
    return Volume(weights, np.asarray(image.affine, dtype=np.float64), "1")  # type: ignore[attr-defined]
