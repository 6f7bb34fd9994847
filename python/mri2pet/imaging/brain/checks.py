"""Whether to believe a registration: measurements, and limits on them.

The limits were set on real heads, on phantoms, and on inputs that must fail (another
modality, noise, half a head); `docs/synthesize.md` says what each figure means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.brain.registration import correlation, fixed_template, in_template
from mri2pet.imaging.space.resampling import bounding_box
from mri2pet.imaging.space.smoothing import gaussian
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume

MASK_VOLUME_ML = (700.0, 2300.0)
MIN_DICE = 0.85
MIN_CORRELATION = 0.30
MIN_COVERAGE = 0.98
MIN_WHITE_TO_GREY = 1.03
MAX_LINEAR_SCALE = 1.45
MAX_TURN_DEG = 40.0
SMOOTHING_FWHM_MM = 4.0
MIN_SHARPNESS = ((1.5, 0.22), (2.0, 0.20), (3.0, 0.09), (4.0, 0.04))
"""Voxel size (mm, geometric mean) and the least sharpness there, linear between.

Real T1s of 0.7 to 2 mm had 0.37 to 0.44, an average of 152 of them 0.25, the first ones blurred to
2, 3 and 4 mm 0.24, 0.16 and 0.07; PETs of one person and of groups 0.05 to 0.11."""

_SLAB_MM = 24.0
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


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
        sharpness: standard deviation of what 4 mm FWHM smoothing takes away over that of the
            image, inside the brain.
        voxel_mm: cube root of the voxel's volume, by which the sharpness is judged.
    """

    mask_volume_ml: float
    dice_with_template: float
    correlation_with_template: float
    covered_fraction: float
    white_to_grey: float
    linear_scale: float
    sharpness: float
    voxel_mm: float

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
        sharpness=_sharpness(brain, mask),
        voxel_mm=float(np.cbrt(1000.0 * brain.voxel_volume_ml)),
    )


def refuse_failed(name: str, checks: RegistrationChecks, cause: Callable[[], str | None]) -> None:
    """Refuse a registration that failed, with the cause or else the figures that say so.

    Args:
        name: for messages.
        checks: what `measure` returned.
        cause: called when a figure fails; what is wrong with the image where that can be told,
            as the rest of a sentence after its name.

    Raises:
        InputError: one sentence.
    """
    wrong = failed(checks)
    if wrong is not None:
        raise InputError(f"{name}: {cause() or wrong}.")


def failed(checks: RegistrationChecks) -> str | None:
    """The first figures beyond their limits, as the rest of a sentence; None if none are."""
    low, high = MASK_VOLUME_ML
    advice = "look at the image, and give a brain mask or a better T1"
    if checks.covered_fraction < MIN_COVERAGE:
        held, needed = apart(100 * checks.covered_fraction, 100 * MIN_COVERAGE, digits=0)
        return (
            f"its field of view cuts the brain (it holds {held} % of the template's brain, at "
            f"least {needed} % are needed); give a T1 that covers the whole brain"
        )
    if not low <= checks.mask_volume_ml <= high:
        return (
            f"no brain was found (mask of {checks.mask_volume_ml:.0f} ml, expected {low:.0f} to "
            f"{high:.0f}); {advice}"
        )
    told = [
        f"{what} {found}, at least {limit} is needed"
        for what, value, least in (
            ("correlation", checks.correlation_with_template, MIN_CORRELATION),
            ("Dice", checks.dice_with_template, MIN_DICE),
        )
        if value < least
        for found, limit in [apart(value, least)]
    ]
    scale = checks.linear_scale
    if not 1 / MAX_LINEAR_SCALE <= scale <= MAX_LINEAR_SCALE:
        told.append(
            f"size ratio {scale:.2f}, expected {1 / MAX_LINEAR_SCALE:.2f} to {MAX_LINEAR_SCALE}"
        )
    if told:
        return f"registration to the template failed ({'; '.join(told)}); {advice}"
    if checks.white_to_grey < MIN_WHITE_TO_GREY:
        found, limit = apart(checks.white_to_grey, MIN_WHITE_TO_GREY)
        return (
            "is not T1-weighted as far as its intensities tell (white over grey matter "
            f"{found}, at least {limit} is needed), like a PET or a T2; give a T1-weighted MRI"
        )
    sizes, limits = np.array(MIN_SHARPNESS).T
    least = float(np.interp(checks.voxel_mm, sizes, limits))
    if checks.sharpness < least:
        found, limit = apart(checks.sharpness, least)
        return (
            f"is as blurred as a PET (sharpness {found}, at least {limit} is needed at voxels of "
            f"{checks.voxel_mm:.2g} mm); give a T1-weighted MRI"
        )
    return None


def apart(value: float, limit: float, digits: int = 2) -> tuple[str, str]:
    """Both numbers with as many digits, at least `digits`, as tell them from each other."""
    while digits < 8 and f"{value:.{digits}f}" == f"{limit:.{digits}f}":
        digits += 1
    return f"{value:.{digits}f}", f"{limit:.{digits}f}"


def turned(template_from_subject: np.ndarray) -> list[str]:
    """A sentence when the head lies otherwise than its header says.

    Nobody's head is turned by 40 degrees in a scanner, so the header is wrong, and then nothing
    tells left from right.
    """
    left, _, right = np.linalg.svd(template_from_subject[:3, :3])
    trace = float(np.trace(left @ right))
    degrees = float(np.degrees(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))))
    if degrees < MAX_TURN_DEG:
        return []
    return [
        f"The head lies turned by {degrees:.0f} degrees against what the header says, so the "
        "header is wrong, and left and right may be exchanged."
    ]


def _sharpness(brain: Volume, mask: np.ndarray) -> float:
    """See `RegistrationChecks`.

    Measured in a slab of 24 mm about the middle of the brain, which gives the whole brain's figure
    within 0.015 in a sixth of the time; without a rim of 4 mm, where the smoothing mixes in what is
    no brain.
    """
    if not mask.any():
        return 0.0
    x, y, z = bounding_box(mask)
    half = round(_SLAB_MM / 2 / float(brain.voxel_size_mm[2]))
    middle = (z.start + z.stop) // 2
    slab = (x, y, slice(max(middle - half, 0), middle + half))
    values = brain.data[slab]
    sigma = SMOOTHING_FWHM_MM / _FWHM_PER_SIGMA / brain.voxel_size_mm
    # As smooth as the image, the mask is above this where 2.3 standard deviations, 4 mm, are brain.
    # At the cut faces of the slab the brain goes on.
    within = gaussian(mask[slab], sigma, mode="nearest")
    inside = mask[slab] & (within > 0.99)
    spread = float(values[inside].std()) if inside.any() else 0.0
    if spread == 0:
        return 0.0
    return float((values - gaussian(values, sigma))[inside].std()) / spread


def _covered(field_of_view: Volume, template_from_subject: np.ndarray) -> float:
    """Part of the template's brain voxels whose centres lie inside the image."""
    mask = template_mask(2)
    centres = np.argwhere(mask.data).T
    to_index = np.linalg.inv(template_from_subject @ field_of_view.affine) @ mask.affine
    index = to_index[:3, :3] @ centres + to_index[:3, 3:]
    size = np.array(field_of_view.shape)[:, None]
    return float(np.mean(((index >= -0.5) & (index <= size - 0.5)).all(axis=0)))
