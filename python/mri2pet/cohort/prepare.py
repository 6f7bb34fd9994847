"""One subject from its files to model space, with estimated or with known transforms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.pet import static_pet
from mri2pet.errors import InputError
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, Reference, reference_level

Shape = tuple[int, int, int]
REGISTRATIONS = ("estimate", "truth")
MIN_SPREAD = 0.01  # interquartile range over the median in the brain; 0.2 and more in real PETs


@dataclass(frozen=True)
class ModelSpaceSubject:
    """A subject on the model's grids.

    Attributes:
        mri: float32 `[K, I, J]` on the MRI grid, in [0, 1].
        brain: float32 `[K, I, J]` on the PET grid, the fraction of each voxel that is brain.
        pet: float32 `[K, I, J]` on the PET grid, SUVR (0 to 1 for `minmax`), or None for an MRI
            alone.
        details: transforms and checks, as JSON takes them.
    """

    mri: np.ndarray
    brain: np.ndarray
    pet: np.ndarray | None
    details: dict[str, Any] = field(default_factory=dict)


def prepare(
    row: ManifestRow,
    mri_shape: Shape,
    pet_shape: Shape,
    registration: str,
    reference: Reference | None = None,
) -> ModelSpaceSubject:
    """The subject of a manifest row in model space.

    `reference` scales the PET; default is the whole cerebellum. With the registration `truth`
    that is the scale a simulated cohort knows, and a VOI is measured as in any PET.

    Raises:
        InputError: a file that cannot be used, or a PET that is the same all over the brain; the
            message names it.
        ValueError: unknown `registration`.
    """
    reference = reference or Reference.of(CEREBELLUM)
    if registration == "truth":
        subject = _prepare_with_truth(row, mri_shape, pet_shape, reference)
    elif registration == "estimate":
        subject = _prepare_with_estimate(row, mri_shape, pet_shape, reference)
    else:
        raise ValueError(f"registration {registration!r} is none of {', '.join(REGISTRATIONS)}")
    if subject.pet is not None:
        _refuse_without_spread(row, subject.pet, subject.brain)
    return subject


def _refuse_without_spread(row: ManifestRow, pet: np.ndarray, brain: np.ndarray) -> None:
    low, middle, high = np.percentile(pet[brain > 0.5], (25, 50, 75))
    if not high - low >= MIN_SPREAD * abs(middle) or middle <= 0:
        raise InputError(
            f"{row.pet}: has no spread in the brain (quartiles {low:.3g}, {middle:.3g} and "
            f"{high:.3g}), so it is no PET; leave it out or export it again."
        )


def _prepare_with_truth(
    row: ManifestRow, mri_shape: Shape, pet_shape: Shape, reference: Reference
) -> ModelSpaceSubject:
    from mri2pet.imaging.files.kinds import MASK
    from mri2pet.imaging.files.reading import read_image, read_t1
    from mri2pet.imaging.space.model_space import mask_to_model_space, to_model_space

    if row.truth is None:
        raise InputError(
            f"{row.t1}: has no truth file; registration 'truth' is for simulated cohorts, "
            "use registration 'estimate'."
        )
    template_from_t1 = _matrix(row.truth, "template_from_t1")
    image = read_t1(row.t1)
    t1 = image.volume
    mask_path = Path(str(row.truth).replace("_truth.json", "_space-T1w_desc-brain_mask.nii.gz"))
    brain_mask = read_image(mask_path, MASK).frames[0] > 0.5
    if t1.shape != brain_mask.shape:
        raise InputError(f"{mask_path}: shape {brain_mask.shape} is not its T1's {t1.shape}.")
    mri = to_model_space(t1, template_from_t1, brain_mask, mri_shape, interpolation="cubic")
    brain = mask_to_model_space(brain_mask, t1.affine, template_from_t1, pet_shape)
    details: dict[str, Any] = {
        "template_from_t1": template_from_t1.tolist(),
        "warnings": image.warnings,
    }
    pet = None
    if row.pet is not None:
        if row.pet_truth is None:
            raise InputError(f"{row.pet}: has no truth file; use registration 'estimate'.")
        pet, of_pet = _pet_with_truth(row.pet, row.pet_truth, brain, pet_shape, reference)
        details |= of_pet
    return ModelSpaceSubject(mri, brain, pet, details)


def _pet_with_truth(
    path: Path, truth: Path, brain: np.ndarray, pet_shape: Shape, reference: Reference
) -> tuple[np.ndarray, dict[str, Any]]:
    from mri2pet.imaging.pet.prepare import minmax
    from mri2pet.imaging.space.model_space import pet_to_model_space

    # The PET's own session knows its MRI and its way to the template.
    t1_from_pet = _t1_from_pet(truth)
    template_from_pet = _matrix(truth, "template_from_t1") @ t1_from_pet
    raw = static_pet(path)
    if reference.key == CEREBELLUM:
        scale = float(_truth_value(truth, "pet_scale_to_suvr"))
    elif reference.key == MINMAX:
        scale = 1.0
    else:
        scale = 1.0 / reference_level(str(path), raw, reference, template_from_pet)
    scaled = Volume(raw.data * np.float32(scale), raw.affine, reference.unit)
    kij = pet_to_model_space(scaled, template_from_pet, brain, pet_shape)
    return minmax(kij) if reference.key == MINMAX else kij, {
        "t1_from_pet": t1_from_pet.tolist(),
        "pet_reference": reference.name,
        "pet_unit": reference.unit,
        "pet_scale_to_suvr": None if reference.key == MINMAX else scale,
    }


def _prepare_with_estimate(
    row: ManifestRow, mri_shape: Shape, pet_shape: Shape, reference: Reference
) -> ModelSpaceSubject:
    from mri2pet.imaging.pet.prepare import prepare_pet
    from mri2pet.imaging.pipeline import preprocess
    from mri2pet.imaging.space.model_space import mask_to_model_space

    done = preprocess(row.t1, mri_shape=mri_shape, pet_shape=pet_shape)
    t1, template_from_t1 = done.t1.volume, done.record.template_from_subject
    brain = mask_to_model_space(done.brain_mask, t1.affine, template_from_t1, pet_shape)
    details: dict[str, Any] = {
        "template_from_t1": template_from_t1.tolist(),
        "checks": done.checks,
        "warnings": done.warnings,
    }
    pet = None
    if row.pet is not None:
        prepared = prepare_pet(
            row.pet,
            t1,
            done.brain_mask,
            template_from_t1,
            brain,
            pet_shape,
            reference=reference,
        )
        pet = prepared.kij
        details |= prepared.details()
    return ModelSpaceSubject(done.mri, brain, pet, details)


def _t1_from_pet(truth: Path) -> np.ndarray:
    """Where the mean of the frames lies: the mean of their rigid transforms, which differ little.

    The rotation is the one nearest to the mean matrix (polar decomposition).
    """
    frames = _truth_value(truth, "frames")
    if len(frames) < 2:
        return _matrix(truth, "t1_from_pet")
    mean = np.mean([np.asarray(frame["t1_from_frame"], dtype=np.float64) for frame in frames], 0)
    left, _, right = np.linalg.svd(mean[:3, :3])
    mean[:3, :3] = left @ right
    return mean


def _truth_value(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text())[key]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: holds no usable {key!r} ({error}).") from None


def _matrix(path: Path, key: str) -> np.ndarray:
    matrix = np.asarray(_truth_value(path, key), dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(f"{path}: {key!r} is not a 4 x 4 matrix.")
    return matrix
