"""What is put right before any library sees an image: numbers that are none, outliers, scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files.kinds import ImageKind

MAX_MENDED_FRACTION = 1e-3
OUTLIER_FACTOR = 10.0
PLAIN_MAGNITUDE = (1e-6, 1e9)
"""Values whose largest lies between these are left as they are: squares and sums of squares over
a volume then stay far from the ends of float32."""
MIN_OFFSET = 0.05
MAX_BACKGROUND_SPREAD = 0.1
MAX_CONSTANT_SPREAD = 0.01

_OUTLIER_PERCENTILE = 99.9
_OUTLIER_SAMPLE = 2_000_000


@dataclass(frozen=True)
class Mended:
    """Values float32, and one sentence for each thing that was done to them."""

    values: np.ndarray
    warnings: list[str]


def mend(name: str, values: np.ndarray, kind: ImageKind) -> Mended:
    """Finite float32 values of a usual size, without outliers.

    Args:
        name: for messages.
        values: `[T, X, Y, Z]`, any real type.
        kind: where NaN in one piece with the edge of the volume is background, as SPM writes it;
            whether a background other than 0 is taken off; one of labels is only made finite.

    Raises:
        InputError: more than 0.1 % of the other voxels are not finite.
    """
    warnings: list[str] = []
    values = _finite(name, values, kind.nan_outside, warnings)
    if not kind.as_stored:
        values = _usual_size(_without_outliers(values, warnings), warnings)
    if kind.offset:
        values = _without_offset(values, warnings)
    return Mended(np.ascontiguousarray(values, dtype=np.float32), warnings)


def _finite(name: str, values: np.ndarray, nan_outside: bool, warnings: list[str]) -> np.ndarray:
    """Voxels without a number: 0 outside, else the mean of their finite neighbours (or 0)."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    values = values.copy()
    if nan_outside:
        outside = _touching_the_edge(np.isnan(values))
        if outside.any():
            values[outside] = 0.0
            bad &= ~outside
            warnings.append(
                f"{100 * outside.mean():.1f} % of the voxels, at the edge, were NaN and count as 0."
            )
    count = int(np.count_nonzero(bad))
    if count > MAX_MENDED_FRACTION * values.size:
        raise InputError(
            f"{name}: {100 * count / values.size:.1f} % of its voxels are NaN or infinite; "
            "write it again with finite values (0 for the background)."
        )
    if count:
        values[bad] = _neighbour_means(values, np.argwhere(bad))
        warnings.append(
            f"{count} voxels were NaN or infinite and were filled from their neighbours."
        )
    return values


def _touching_the_edge(mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask, of each frame, that reach the edge of the volume."""
    from scipy.ndimage import generate_binary_structure, label

    within_frames = np.zeros((3, 3, 3, 3), dtype=bool)
    within_frames[1] = generate_binary_structure(3, 1)
    pieces, count = label(mask, within_frames)
    edge = np.zeros(count + 1, dtype=bool)
    for axis in (1, 2, 3):
        for end in (0, -1):
            edge[np.take(pieces, end, axis=axis)] = True
    edge[0] = False
    return edge[pieces]


def _without_outliers(values: np.ndarray, warnings: list[str]) -> np.ndarray:
    """Values beyond ten times the 99.9th percentile of what is not 0 are cut to it."""
    sizes = np.abs(values[values != 0])
    if sizes.size == 0:
        return values
    step = max(1, sizes.size // _OUTLIER_SAMPLE)
    top = float(np.percentile(sizes[::step].astype(np.float64), _OUTLIER_PERCENTILE))
    far = np.abs(values) > OUTLIER_FACTOR * top
    count = int(np.count_nonzero(far))
    if count == 0 or top == 0:
        return values
    worst = float(np.abs(values[far]).max())
    cut = values.copy()
    cut[far] = np.sign(values[far]) * top
    warnings.append(
        f"{count} outlier voxels (up to {worst:.3g}, beyond {OUTLIER_FACTOR:g} times the "
        f"{_OUTLIER_PERCENTILE:g}th percentile) were cut to {top:.3g}."
    )
    return cut


def _usual_size(values: np.ndarray, warnings: list[str]) -> np.ndarray:
    """Values divided by a power of ten where float32 arithmetic might not hold them."""
    largest = float(np.abs(values).max())
    low, high = PLAIN_MAGNITUDE
    if largest == 0 or low <= largest <= high:
        return values
    exponent = int(np.floor(np.log10(largest)))
    scaled = values.astype(np.float64) / 10.0**exponent
    warnings.append(f"Its values reach {largest:.3g}; all were divided by 1e{exponent}.")
    return scaled


def _without_offset(values: np.ndarray, warnings: list[str]) -> np.ndarray:
    """The level of the background taken off `[1, X, Y, Z]`, where it is one number and not 0.

    The level is the median of the six faces of the volume. Noise about a level above 0 is what a
    magnitude image has, so only a constant one counts there; below 0 no magnitude can be.
    """
    faces = np.concatenate(
        [np.take(values, end, axis=axis).ravel() for axis in (-3, -2, -1) for end in (0, -1)]
    ).astype(np.float64)
    low, level, high = np.percentile(faces, (25, 50, 75))
    span = float(np.percentile(values[..., ::3, ::3, ::3], 99)) - level
    spread = (high - low) / span if span > 0 else np.inf
    limit = MAX_BACKGROUND_SPREAD if level < 0 else MAX_CONSTANT_SPREAD
    if span > 0 and abs(level) > MIN_OFFSET * span and spread <= limit:
        warnings.append(f"Its background lies at {level:.4g}; this was taken off every voxel.")
        return values - np.float32(level)
    below = float(np.mean(values < -MIN_OFFSET * span)) if span > 0 else 0.0
    if below > MAX_MENDED_FRACTION:
        warnings.append(f"{100 * below:.1f} % of the voxels are below 0 and count as 0.")
    return values


def _neighbour_means(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    steps = [[-1, 0, 1]] * 3
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = np.insert(offsets, 0, 0, axis=1)  # within its frame
    around = np.clip(where[:, None, :] + offsets, 0, np.array(values.shape) - 1)
    neighbours = values[tuple(np.moveaxis(around, -1, 0))].astype(np.float64)
    finite = np.isfinite(neighbours)
    total = np.where(finite, neighbours, 0.0).sum(axis=1)
    return total / np.maximum(finite.sum(axis=1), 1)
