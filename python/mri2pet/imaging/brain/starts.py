"""Where the brain may be: an exhaustive, intensity-robust search at 8 mm.

Every pose of a coarse grid of rotations and sizes, and every translation, is scored by the
normalised cross-correlation with the template inside its dilated mask (by FFT, as in
Padfield 2012, IEEE TIP 21:2706). Intensities are replaced by their ranks, so bright scalp fat
counts no more than white matter. Nothing here depends on where the head's centre of mass is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from mri2pet.imaging.space.resampling import cores, resample
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.space.volume import Volume

SEARCH_MM = 8.0
PITCH_DEG = (-60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0)
YAW_DEG = (-20.0, 0.0, 20.0)
ROLL_DEG = (-20.0, 0.0, 20.0)
SIZES = (0.85, 1.0, 1.15)
"""Template over subject, of adults and older children."""
OTHER_SIZES = (0.5, 0.6, 1.45, 1.6, 1.8)
"""Looked for when a registration has failed."""

_CUBE = 32
_BRAIN_CENTRE_MM = np.array([0.0, -17.0, 4.0])
_RING_VOXELS = 3
_DISTINCT_MM = 12.0

Pose = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Start:
    """A candidate pose: its score (-1 to 1) and 4 x 4 subject mm → template mm."""

    score: float
    template_from_subject: np.ndarray


def find_starts(head: Volume, count: int) -> list[Start]:
    """The best distinct poses of the template's brain in a head, best first.

    Args:
        head: about 2 mm, axes near R, A, S, values ≥ 0.
        count: at most this many. Two poses are distinct when some point of the brain moves
            by more than 12 mm between them.
    """
    coarse = _coarse(head)
    starts = _scored(coarse, _poses(PITCH_DEG, YAW_DEG, ROLL_DEG, SIZES))
    return _distinct(sorted(starts, key=lambda start: -start.score), count)


def prepare_search() -> None:
    """Makes the poses of `find_starts`, which are the same for every head, beforehand."""
    _poses(PITCH_DEG, YAW_DEG, ROLL_DEG, SIZES)


def best_score(head: Volume, size: float) -> float:
    """Score of the best upright or nodding pose of a brain of one size, template over subject."""
    starts = _scored(_coarse(head), _poses(PITCH_DEG, (0.0,), (0.0,), (size,)))
    return max(start.score for start in starts)


def ranks(data: np.ndarray) -> np.ndarray:
    """Values replaced by their rank among the foreground, 0 to 1; background stays near 0.

    The foreground is what exceeds 2 % of the 99th percentile, or 10 % of the 90th where that
    is less: scalp fat may own the top percentiles and must not push the brain into the
    background.
    """
    most, top = (float(p) for p in np.percentile(data, (90, 99)))
    floor = min(0.02 * top, 0.1 * most) if most > 0 else 0.02 * top
    foreground = data[data > floor]
    if foreground.size == 0:
        return np.zeros_like(data, dtype=np.float32)
    quantiles = np.linspace(0.0, 1.0, 513)
    knots = np.quantile(foreground, quantiles)
    ranked = np.interp(data, knots, quantiles)
    ranked[data <= floor] = 0.0
    return ranked.astype(np.float32)


def _scored(coarse: Volume, poses: list[Pose]) -> list[Start]:
    """Every pose at its best place."""
    from scipy import fft

    sizes = [fft.next_fast_len(n + _CUBE, real=True) for n in coarse.shape]
    spectrum = fft.rfftn(coarse.data, sizes)
    spectrum_squared = fft.rfftn(coarse.data**2, sizes)

    def best(case: Pose) -> Start:
        pose, kernel, weight = case
        score, shift = _best_shift(
            spectrum, spectrum_squared, kernel, weight, sizes, coarse.data.shape
        )
        index = np.eye(4)
        index[:3, 3] = -shift
        return Start(score, pose @ index @ np.linalg.inv(coarse.affine))

    with ThreadPoolExecutor(cores()) as pool:  # FFTs run outside the interpreter lock
        return list(pool.map(best, poses))


def _best_shift(
    spectrum: np.ndarray,
    spectrum_squared: np.ndarray,
    kernel: np.ndarray,
    weight: np.ndarray,
    sizes: list[int],
    head_shape: tuple[int, ...],
) -> tuple[float, np.ndarray]:
    """Best translation (voxels) of one pose, and its masked normalised cross-correlation."""
    from scipy import fft

    total = float(weight.sum())
    weight_spectrum = np.conj(fft.rfftn(weight, sizes))
    covariance = fft.irfftn(spectrum * np.conj(fft.rfftn(kernel, sizes)), sizes)
    first = fft.irfftn(spectrum * weight_spectrum, sizes)
    second = fft.irfftn(spectrum_squared * weight_spectrum, sizes)
    variance = second - first**2 / total
    spread = float(np.sqrt((kernel**2 / np.maximum(weight, 1e-6)).sum()))
    score = covariance / (spread * np.sqrt(np.maximum(variance, 0.01 * variance.max() + 1e-12)))
    best = np.unravel_index(int(score.argmax()), score.shape)
    shift = [b if b < n else b - s for b, n, s in zip(best, head_shape, sizes, strict=True)]
    return float(score[best]), np.array(shift, dtype=np.float64)


@cache
def _poses(*choices: tuple[float, ...]) -> list[Pose]:
    """All poses of some pitches, yaws, rolls (degrees) and sizes.

    For each pose: cube index → template mm, zero-mean kernel `[32, 32, 32]`, its weights."""
    from scipy.ndimage import binary_dilation, gaussian_filter
    from scipy.spatial.transform import Rotation

    brain, mask = template(2), template_mask(2)
    ring = binary_dilation(mask.data, iterations=_RING_VOXELS).astype(np.float32)
    smooth = gaussian_filter(ranks(brain.data) * mask.data, SEARCH_MM / 4)

    def posed(case: tuple[float, ...]) -> Pose:
        pitch, yaw, roll, size = case
        turn = Rotation.from_euler("xyz", [pitch, roll, yaw], degrees=True).as_matrix()
        pose = np.eye(4)
        pose[:3, :3] = turn * (size * SEARCH_MM)
        pose[:3, 3] = _BRAIN_CENTRE_MM - pose[:3, :3] @ np.full(3, (_CUBE - 1) / 2)
        shape = (_CUBE, _CUBE, _CUBE)
        weight = resample(ring, mask.affine, shape, pose)
        values = resample(smooth, brain.affine, shape, pose)
        mean = float((weight * values).sum() / weight.sum())
        return pose, weight * (values - mean), weight

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(posed, product(*choices)))


def _coarse(head: Volume) -> Volume:
    """Ranks of a head, smoothed, on an 8 mm grid along its own axes."""
    from scipy.ndimage import gaussian_filter

    size = head.voxel_size_mm
    smooth = gaussian_filter(ranks(head.data), SEARCH_MM / 2 / size)
    shape = np.maximum(np.ceil(np.array(head.shape) * size / SEARCH_MM).astype(int), 1)
    affine = head.affine.copy()
    affine[:3, :3] *= SEARCH_MM / size
    x, y, z = (int(n) for n in shape)
    return Volume(resample(smooth, head.affine, (x, y, z), affine), affine)


def _distinct(starts: list[Start], count: int) -> list[Start]:
    """Drop poses that lie within 12 mm of a better one."""
    corners = np.array([[x, y, z, 1.0] for x in (-60, 60) for y in (-90, 60) for z in (-50, 70)]).T
    kept: list[Start] = []
    for start in starts:
        points = np.linalg.inv(start.template_from_subject) @ corners
        far = (
            np.linalg.norm((points - np.linalg.inv(k.template_from_subject) @ corners)[:3], axis=0)
            for k in kept
        )
        if all(distance.max() > _DISTINCT_MM for distance in far):
            kept.append(start)
        if len(kept) == count:
            break
    return kept
