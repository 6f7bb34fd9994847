"""From a T1 to model space in one call: `preprocess`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.brain import checks as checking
from mri2pet.imaging.brain import choice, deepbet, ready
from mri2pet.imaging.brain.bias import bias_field
from mri2pet.imaging.brain.causes import cause
from mri2pet.imaging.brain.extraction import check_extractor, hd_bet_brain, template_brain
from mri2pet.imaging.brain.masks import given_mask, stripped_mask
from mri2pet.imaging.brain.registration import (
    fixed_template,
    locate_brain,
    refine,
    working_volume,
)
from mri2pet.imaging.brain.rim import bright_rim
from mri2pet.imaging.files.reading import T1Image, read_t1
from mri2pet.imaging.space.model_space import (
    mask_to_model_space,
    pet_to_model_space,
    to_model_space,
)
from mri2pet.imaging.space.record import SpaceRecord
from mri2pet.imaging.space.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.space.volume import Volume, reorder, restore_order

__all__ = [
    "Preprocessed",
    "SpaceRecord",
    "T1Image",
    "mask_to_model_space",
    "pet_to_model_space",
    "preprocess",
    "read_t1",
    "to_model_space",
]

Shape = tuple[int, int, int]
OnStage = Callable[[str, "float | None"], None]

_HEAD_N4 = (30, 30, 30)
_BRAIN_N4 = (50, 50, 50)
_HEAD_N4_REACH_VOXELS = 3
_CROP_MARGIN_MM = 8.0


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A T1 in model space, and the way back.

    Attributes:
        mri: float32 `[K, I, J]` in [0, 1], brain only.
        record: the way back to the subject's grid.
        t1: what was read.
        brain_mask: bool `[X, Y, Z]` on the subject's grid.
        checks: `extractor_used` (what the brain mask comes from), registration figures
            (`checks.RegistrationChecks`), `bright_rim` (where a mask was made here) and
            `seconds` per stage.
        doubts: what is doubtful about the place and the brain mask, one sentence each.
    """

    mri: np.ndarray
    record: SpaceRecord
    t1: T1Image
    brain_mask: np.ndarray
    checks: dict[str, Any]
    doubts: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What was mended or is doubtful about the input and its mask, one sentence each."""
        return [*self.t1.warnings, *self.doubts]


def preprocess(
    t1: Any,
    *,
    mri_shape: Shape,
    pet_shape: Shape,
    brain_mask: Any = None,
    skull_stripped: bool = False,
    assume_ras: bool = False,
    extractor: str = "auto",
    on_stage: OnStage | None = None,
) -> Preprocessed:
    """Bring a T1 to model space.

    All work is done in RAS order, so the 48 stored axis orders of one image give the same
    result, and the same input gives the same result to the bit.

    Args:
        t1: path, nibabel image, or what `read_t1` returned.
        mri_shape: (K, I, J) of the model's MRI grid.
        pet_shape: (K, I, J) of its PET grid.
        brain_mask: file, nibabel image or bool array on the T1's grid; used as it is.
        skull_stripped: the image holds only brain.
        assume_ras: as in `read_t1`.
        extractor: `"template"`; `"deepbet"` or `"hd-bet"` where that is installed; `"auto"`
            takes the template's mask, or deepbet's as `imaging.brain.choice` says.
        on_stage: called with a stage's name and None when it starts, with its seconds when
            it ends.

    Raises:
        InputError: the image cannot be used, or its registration failed; with numbers.
        UsageError: contradictory options, an unknown or missing extractor.
    """
    if brain_mask is not None and skull_stripped:
        raise UsageError("give a brain mask or say skull-stripped, not both.")
    if brain_mask is None and not skull_stripped:
        check_extractor(extractor)
    ready.begin()
    clock = _Clock(on_stage)
    if not isinstance(t1, T1Image):
        with clock("read"):
            t1 = read_t1(t1, assume_ras=assume_ras)
    data, affine, order = reorder(t1.volume.data, t1.volume.affine)
    subject = Volume(data, affine)
    doubts: list[str] = []
    known = _known_mask(t1, brain_mask, skull_stripped, extractor, clock, doubts)
    try:
        placed = _place(t1.name, subject, known, clock)
    except RuntimeError as error:
        raise InputError(
            f"{t1.name}: registration to the template failed ({error}); look at the image, and "
            "give a brain mask or a better T1."
        ) from error
    with clock("checks"):
        found = _measured(placed, subject, _source(brain_mask, skull_stripped, extractor))
    if known is None:
        found, more = _chosen(t1.name, subject, found, extractor, clock)
        doubts += more
    placed = found.placed
    to_template = placed.template_from_subject
    checking.refuse_failed(t1.name, found.figures, lambda: cause(subject))
    doubts += checking.turned(to_template)
    with clock("resampling"):
        mri = to_model_space(placed.brain, to_template, placed.near, mri_shape)
    stored_mask = restore_order(placed.mask, order)
    return Preprocessed(
        mri=mri,
        record=SpaceRecord(to_template, t1.grid, pet_shape, stored_mask),
        t1=t1,
        brain_mask=stored_mask,
        checks={**found.as_dict(), "seconds": clock.seconds},
        doubts=doubts,
    )


@dataclass(frozen=True, eq=False)
class _Placed:
    """A brain found and registered: its mask on the whole grid, and a corrected crop of it."""

    mask: np.ndarray
    brain: Volume
    near: np.ndarray
    template_from_subject: np.ndarray


def _place(name: str, subject: Volume, known: np.ndarray | None, clock: _Clock) -> _Placed:
    """Find the brain, its mask unless that is known, its bias field and its affine.

    A whole head is registered before its brain is extracted, because the dark rim of CSF and
    skull guides the affine; a stripped brain after its bias field is gone.
    """
    with clock("brain position"):
        ready.wait()
        head, template_from_subject = locate_brain(_head(subject, known))
    if known is None:
        with clock("registration"):
            head, template_from_subject = _register_head(head, template_from_subject)
        with clock("brain extraction"):
            mask = _extract(subject, head, template_from_subject)
        with clock("bias field"):
            brain, near = _corrected_brain(name, subject, mask)
    else:
        mask = known
        with clock("bias field"):
            brain, near = _corrected_brain(name, subject, mask)
        with clock("registration"):
            stripped = working_volume(Volume(brain.data * near, brain.affine))
            template_from_subject = refine(stripped, template_from_subject)
    return _Placed(mask, brain, near, template_from_subject)


@dataclass(frozen=True, eq=False)
class _Found:
    """A brain with its figures and what its mask comes from."""

    placed: _Placed
    extractor_used: str
    figures: checking.RegistrationChecks
    bright_rim: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "extractor_used": self.extractor_used,
            **self.figures.as_dict(),
            "bright_rim": round(self.bright_rim, 4),
        }


def _measured(placed: _Placed, subject: Volume, extractor_used: str) -> _Found:
    brain, near, to_template = placed.brain, placed.near, placed.template_from_subject
    figures = checking.measure(brain, near, to_template, subject)
    return _Found(placed, extractor_used, figures, bright_rim(brain, near, to_template))


def _chosen(
    name: str, subject: Volume, first: _Found, extractor: str, clock: _Clock
) -> tuple[_Found, list[str]]:
    """The template's brain, or deepbet's where that was asked for or is better; and doubts."""
    if extractor == "template":
        return first, []
    if extractor == "auto":
        if not choice.in_doubt(first.figures, first.bright_rim):
            return first, []
        if deepbet.version() is None:
            return first, choice.rim_warning(first.bright_rim, installed=False)
    to_template = first.placed.template_from_subject
    with clock("deepbet"):
        mask = _on_grid(subject, deepbet.deepbet_brain(subject, to_template))
        reason = choice.why_not(mask, first.placed.mask, subject.voxel_volume_ml)
        second = first
        if reason is None:
            placed = _Placed(mask, *_corrected_brain(name, subject, mask), to_template)
            second = _measured(placed, subject, "deepbet")
            if extractor == "auto":
                reason = choice.no_better(second.bright_rim, first.bright_rim)
    if reason is None:
        return second, choice.rim_warning(second.bright_rim, installed=True)
    refused = f"deepbet's brain mask was not taken ({reason}); the template's was."
    return first, [refused, *choice.rim_warning(first.bright_rim, installed=True)]


def _source(brain_mask: Any, skull_stripped: bool, extractor: str) -> str:
    """What the first brain mask comes from."""
    if brain_mask is not None:
        return "brain mask given"
    if skull_stripped:
        return "skull-stripped image"
    return "hd-bet" if extractor == "hd-bet" else "template"


def _known_mask(
    t1: T1Image,
    brain_mask: Any,
    skull_stripped: bool,
    extractor: str,
    clock: _Clock,
    doubts: list[str],
) -> np.ndarray | None:
    """A brain mask that needs no registration, bool in RAS order; None for the template's."""
    if brain_mask is not None:
        stored = given_mask(brain_mask, t1, doubts)
    elif skull_stripped:
        stored = stripped_mask(t1)
    elif extractor == "hd-bet":
        with clock("brain extraction"):
            stored = hd_bet_brain(t1.volume)
    else:
        return None
    return reorder(stored, t1.volume.affine)[0]


def _head(subject: Volume, mask: np.ndarray | None) -> Volume:
    """The 2 mm working volume of a head, or of the brain alone where its mask is known."""
    data = subject.data if mask is None else subject.data * mask
    head = working_volume(Volume(data, subject.affine))
    return Volume(np.maximum(head.data, 0.0), head.affine)


def _register_head(head: Volume, template_from_head: np.ndarray) -> tuple[Volume, np.ndarray]:
    """A head without its bias field (N4 around the brain), and its affine to the template."""
    from scipy.ndimage import binary_dilation

    reach = resample(
        binary_dilation(fixed_template().ring, iterations=_HEAD_N4_REACH_VOXELS),
        template_mask(2).affine,
        head.shape,
        head.affine,
        template_from_head,
    )
    around = (reach > 0.5) & (head.data > 0.02 * head.data.max())
    even = Volume(head.data / bias_field(head, around, _HEAD_N4), head.affine)
    return even, refine(even, template_from_head)


def _extract(subject: Volume, head: Volume, template_from_head: np.ndarray) -> np.ndarray:
    """Template-based brain extraction: bool `[X, Y, Z]` on the subject's grid."""
    return _on_grid(subject, Volume(template_brain(head, template_from_head), head.affine, "1"))


def _on_grid(subject: Volume, fraction: Volume) -> np.ndarray:
    """The mask of a brain fraction given on another grid: bool `[X, Y, Z]` on the subject's."""
    box = _box_around(subject, fraction)
    mask = np.zeros(subject.shape, dtype=bool)
    around = crop_affine(subject.affine, box)
    mask[box] = resample(fraction.data, fraction.affine, mask[box].shape, around) > 0.5
    return mask


def _corrected_brain(name: str, subject: Volume, mask: np.ndarray) -> tuple[Volume, np.ndarray]:
    """The T1 around the brain divided by its bias field (N4 at 2 mm, shrink 4), and its mask."""
    margin = int(np.ceil(_CROP_MARGIN_MM / subject.voxel_size_mm.min()))
    box = bounding_box(mask, margin)
    inside = mask[box]
    if not inside.any():
        raise InputError(f"{name}: no brain was found (an empty mask); give a brain mask.")
    around = Volume(np.maximum(subject.data[box], 0.0), crop_affine(subject.affine, box))
    coarse = working_volume(around)
    coarse_mask = working_volume(Volume(inside.astype(np.float32), around.affine))
    field = bias_field(coarse, (coarse_mask.data > 0.5) & (coarse.data > 0), _BRAIN_N4)
    there = resample(field, coarse.affine, around.shape, around.affine)
    return Volume(around.data / np.where(there > 0.1, there, 1.0), around.affine), inside


def _box_around(subject: Volume, fraction: Volume) -> tuple[slice, slice, slice]:
    """The part of the subject's grid that a brain fraction on another grid can reach."""
    box = bounding_box(fraction.data > 0.0, margin=1)
    corners = np.array(
        [[x, y, z, 1.0] for x in _ends(box[0]) for y in _ends(box[1]) for z in _ends(box[2])]
    ).T
    index = (np.linalg.inv(subject.affine) @ fraction.affine @ corners)[:3]
    low = np.clip(np.floor(index.min(axis=1)).astype(int), 0, None)
    high = np.minimum(np.ceil(index.max(axis=1)).astype(int) + 1, subject.shape)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _ends(part: slice) -> tuple[int, int]:
    return part.start, part.stop


class _Clock:
    """Seconds per stage, told to a listener as they pass."""

    def __init__(self, on_stage: OnStage | None) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = on_stage or (lambda name, seconds: None)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._tell(name, None)
        start = time.perf_counter()
        yield
        taken = time.perf_counter() - start
        self.seconds[name] = round(taken, 3)
        self._tell(name, taken)
