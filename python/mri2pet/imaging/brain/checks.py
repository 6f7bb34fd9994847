"""Whether to believe a registration: measurements, and limits on them.

The limits were set on real heads, on phantoms, and on inputs that must fail (another
modality, noise, half a head); `docs/synthesize.md` says what each figure means.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.brain.registration import correlation, fixed_template, in_template
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume

MASK_VOLUME_ML = (700.0, 2300.0)
MIN_DICE = 0.85
MIN_CORRELATION = 0.30
MIN_COVERAGE = 0.98
MIN_WHITE_TO_GREY = 1.03
MAX_LINEAR_SCALE = 1.45


@dataclass(frozen=True)
class RegistrationChecks:
    """Figures of one registration.

    Attributes:
        mask_volume_ml: brain mask on the subject's grid.
        dice_with_template: overlap of the registered mask with the template's.
        correlation_with_template: Pearson correlation of the registered brain with the
            template inside the template's mask.
        covered_fraction: part of the template's brain that lies inside the field of view.
        white_to_grey: ratio of the mean intensities where the template is white and grey
            matter.
        linear_scale: cube root of the affine's volume change, template over subject.
    """

    mask_volume_ml: float
    dice_with_template: float
    correlation_with_template: float
    covered_fraction: float
    white_to_grey: float
    linear_scale: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, rounded to four digits after the point."""
        return {key: round(float(value), 4) for key, value in asdict(self).items()}


def measure(
    brain: Volume, mask: np.ndarray, template_from_subject: np.ndarray, field_of_view: Volume
) -> RegistrationChecks:
    """Measure a registration.

    Args:
        brain: bias-corrected T1 around the brain.
        mask: bool brain mask on the same grid.
        template_from_subject: 4 x 4, subject mm → template mm.
        field_of_view: the whole image, for its extent.
    """
    target, inside = template(2).data, template_mask(2).data

    def moved(data: np.ndarray) -> np.ndarray:
        volume = Volume(data.astype(np.float32, copy=False), brain.affine)
        return in_template(volume, template_from_subject)

    fraction = moved(mask)
    values = moved(np.where(mask, brain.data, 0.0))
    overlap = 2 * np.count_nonzero((fraction > 0.5) & inside)
    sizes = np.count_nonzero(fraction > 0.5) + np.count_nonzero(inside)
    core = fixed_template().core & (fraction > 0.5)
    white = values[core & (template_wm(2).data > 0.9)]
    grey = values[inside & (fraction > 0.5) & (template_gm(2).data > 0.7)]
    ratio = float(white.mean() / max(grey.mean(), 1e-6)) if white.size and grey.size else 0.0
    return RegistrationChecks(
        mask_volume_ml=np.count_nonzero(mask) * brain.voxel_volume_ml,
        dice_with_template=overlap / sizes,
        correlation_with_template=correlation(values[inside], target[inside]),
        covered_fraction=_covered(field_of_view, template_from_subject),
        white_to_grey=ratio,
        linear_scale=float(np.cbrt(abs(np.linalg.det(template_from_subject[:3, :3])))),
    )


def refuse_failed(name: str, checks: RegistrationChecks) -> None:
    """Refuse a registration that failed, with the figure that says so.

    Raises:
        InputError: one sentence.
    """
    low, high = MASK_VOLUME_ML
    advice = "look at the image, and give a brain mask or a better T1"
    if checks.covered_fraction < MIN_COVERAGE:
        raise InputError(
            f"{name}: its field of view cuts the brain (it holds "
            f"{100 * checks.covered_fraction:.0f} % of the template's brain, at least "
            f"{100 * MIN_COVERAGE:.0f} % are needed); give a T1 that covers the whole brain."
        )
    if not low <= checks.mask_volume_ml <= high:
        raise InputError(
            f"{name}: no brain was found (mask of {checks.mask_volume_ml:.0f} ml, expected "
            f"{low:.0f} to {high:.0f}); {advice}."
        )
    scale = checks.linear_scale
    if (
        checks.dice_with_template < MIN_DICE
        or checks.correlation_with_template < MIN_CORRELATION
        or not 1 / MAX_LINEAR_SCALE <= scale <= MAX_LINEAR_SCALE
    ):
        raise InputError(
            f"{name}: registration to the template failed (correlation "
            f"{checks.correlation_with_template:.2f}, at least {MIN_CORRELATION} is needed; "
            f"Dice {checks.dice_with_template:.2f}, at least {MIN_DICE}; size ratio {scale:.2f}); "
            f"{advice}."
        )
    if checks.white_to_grey < MIN_WHITE_TO_GREY:
        raise InputError(
            f"{name}: is not T1-weighted as far as its intensities tell (white over grey matter "
            f"{checks.white_to_grey:.2f}, at least {MIN_WHITE_TO_GREY} is needed), like a PET or "
            "a T2; give a T1-weighted MRI."
        )


def _covered(field_of_view: Volume, template_from_subject: np.ndarray) -> float:
    """Part of the template's brain voxels whose centres lie inside the image."""
    mask = template_mask(2)
    centres = np.argwhere(mask.data).T
    to_index = np.linalg.inv(template_from_subject @ field_of_view.affine) @ mask.affine
    index = to_index[:3, :3] @ centres + to_index[:3, 3:]
    size = np.array(field_of_view.shape)[:, None]
    return float(np.mean(((index >= -0.5) & (index <= size - 0.5)).all(axis=0)))
