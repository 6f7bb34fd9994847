"""Which brain mask to take: the template's, or deepbet's.

The template's mask follows any pose of the head, but bulges into bright fat behind a thin
skull, as children have it; deepbet's keeps out of the fat.

`MAX_BRIGHT_RIM` stands between what was measured: at most 0.0002 on three real adult heads with
either mask; 0.13 on a fourth, where letters burned into the image lie in the rim; and about 0.03
expected of a child whose mask bulged by 21 ml, of which 27 % were as bright as fat (a rim of
3 mm holds about 200 ml).
"""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.brain.checks import RegistrationChecks, failed
from mri2pet.imaging.brain.deepbet import INSTALL
from mri2pet.imaging.brain.rim import RIM_MM

MAX_BRIGHT_RIM = 0.005
VOLUME_ML = (800.0, 2200.0)
MIN_OVERLAP = 0.90


def in_doubt(figures: RegistrationChecks, bright_rim: float) -> bool:
    """Whether the template's mask fails a check, or holds a rim as bright as fat."""
    return failed(figures) is not None or bright_rim > MAX_BRIGHT_RIM


def why_not(learned: np.ndarray, template: np.ndarray, voxel_ml: float) -> str | None:
    """Why a learned mask is not acceptable beside the template's; None when it is.

    Args:
        learned, template: bool `[X, Y, Z]` on one grid.
        voxel_ml: volume of its voxels.
    """
    size, other = np.count_nonzero(learned), np.count_nonzero(template)
    volume_ml, (low, high) = size * voxel_ml, VOLUME_ML
    if not low <= volume_ml <= high:
        return f"{volume_ml:.0f} ml, expected {low:.0f} to {high:.0f}"
    overlap = 2 * np.count_nonzero(learned & template) / (size + other)
    if overlap < MIN_OVERLAP:
        return f"Dice {overlap:.3f} with the template's mask, at least {MIN_OVERLAP} is needed"
    return None


def no_better(bright_rim: float, template_bright_rim: float) -> str | None:
    """Why a learned mask does not help against a bright rim; None when it does."""
    if bright_rim <= MAX_BRIGHT_RIM or bright_rim < template_bright_rim:
        return None
    return f"{100 * bright_rim:.1f} % of its rim is as bright as fat"


def rim_warning(bright_rim: float, *, installed: bool) -> list[str]:
    """The sentence about a mask whose rim is as bright as fat, if it is."""
    if bright_rim <= MAX_BRIGHT_RIM:
        return []
    advice = "" if installed else f"install deepbet (`{INSTALL}`), which keeps out of fat, or "
    return [
        f"{100 * bright_rim:.1f} % of the brain mask's outer {RIM_MM} mm is as bright as fat (up "
        f"to {100 * MAX_BRIGHT_RIM:g} % is usual), so it may reach into the scalp; {advice}look at "
        "its outline and give a brain mask."
    ]
