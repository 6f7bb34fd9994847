"""Affine registration of a head, or of a stripped brain, to the 2 mm template."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from mri2pet.imaging.brain.starts import Start, find_starts, ranks
from mri2pet.imaging.space.itk import Schedule, register_linear
from mri2pet.imaging.space.resampling import cores, resample
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.space.volume import Volume

WORKING_MM = 2.0
STARTS = 3
MASK_DILATION_VOXELS = 2
COARSE = Schedule(iterations=(200,), shrink=(4,), smoothing_voxels=(2,))
FINE = Schedule(iterations=(100, 25), shrink=(2, 1), smoothing_voxels=(1, 0))

#: Values above this multiple of the brain's own 95th percentile are cut (scalp fat, vessels).
_CAP = 1.3
_CORE_EROSION_VOXELS = 4


@dataclass(frozen=True)
class FixedTemplate:
    """The 2 mm template, and what of it the metric looks at."""

    brain: Volume
    mask: Volume
    metric_mask: Volume
    core: np.ndarray
    ring: np.ndarray


@cache
def fixed_template() -> FixedTemplate:
    """The registration target; its metric mask is the brain mask dilated by 2 voxels."""
    from scipy.ndimage import binary_dilation, binary_erosion

    brain, mask = template(2), template_mask(2)
    ring = binary_dilation(mask.data, iterations=MASK_DILATION_VOXELS)

    def image(data: np.ndarray) -> Volume:
        return Volume(data.astype(np.float32), mask.affine)

    return FixedTemplate(
        brain=image(brain.data * mask.data),
        mask=image(mask.data),
        metric_mask=image(ring),
        core=binary_erosion(mask.data, iterations=_CORE_EROSION_VOXELS),
        ring=ring,
    )


def working_volume(volume: Volume, size_mm: float = WORKING_MM) -> Volume:
    """An isotropic copy along the volume's own axes, about its centre, by averaging.

    Values are read at half the voxel size and averaged over 2 x 2 x 2. The copy covers the
    whole field of view.
    """
    voxel = volume.voxel_size_mm
    shape = np.maximum(np.ceil(np.array(volume.shape) * voxel / size_mm - 1e-3).astype(int), 1)
    centre = volume.affine @ [*((np.array(volume.shape) - 1) / 2), 1.0]
    fine = np.eye(4)
    fine[:3, :3] = volume.affine[:3, :3] / voxel * (size_mm / 2)
    fine[:3, 3] = centre[:3] - fine[:3, :3] @ (2 * shape - 1) / 2
    x, y, z = (int(n) for n in shape)
    values = resample(volume.data, volume.affine, (2 * x, 2 * y, 2 * z), fine)
    affine = fine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] = (fine @ [0.5, 0.5, 0.5, 1.0])[:3]
    averaged = values.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return Volume(averaged, affine, volume.unit)


def locate_brain(head: Volume) -> tuple[Volume, np.ndarray]:
    """Find the brain in a head from several starts.

    Args:
        head: working volume (2 mm), values ≥ 0.

    Returns:
        The head with values above the brain's range cut, and 4 x 4 head mm → template mm.
    """
    fixed = fixed_template()

    def refined(start: Start) -> Start:
        moving = cap_to_brain(head, start.template_from_subject)
        there = np.linalg.inv(start.template_from_subject)
        back = register_linear(fixed.brain, moving, fixed.metric_mask, there, COARSE)
        found = np.linalg.inv(back)
        return Start(rank_correlation(head, found), found)

    with ThreadPoolExecutor(cores()) as pool:
        ends = list(pool.map(refined, find_starts(head, STARTS)))
    best = max(ends, key=lambda start: start.score).template_from_subject
    return cap_to_brain(head, best), best


def refine(head: Volume, template_from_head: np.ndarray) -> np.ndarray:
    """Refine 4 x 4 head mm → template mm at full working resolution."""
    fixed = fixed_template()
    start = np.linalg.inv(template_from_head)
    return np.linalg.inv(register_linear(fixed.brain, head, fixed.metric_mask, start, FINE))


def cap_to_brain(head: Volume, template_from_head: np.ndarray) -> Volume:
    """Cut values above 1.3 times the 95th percentile of the brain's core, and below 0."""
    core = in_template(head, template_from_head)[fixed_template().core]
    top = _CAP * float(np.percentile(core, 95))
    return Volume(np.clip(head.data, 0.0, top if top > 0 else None), head.affine, head.unit)


def in_template(
    volume: Volume, template_from_subject: np.ndarray, interpolation: str = "linear"
) -> np.ndarray:
    """A volume on the 2 mm template grid: float32 `[X, Y, Z]`."""
    grid = template_mask(2)
    return resample(
        volume.data,
        volume.affine,
        grid.shape,
        grid.affine,
        np.linalg.inv(template_from_subject),
        interpolation,
    )


def rank_correlation(head: Volume, template_from_head: np.ndarray) -> float:
    """Correlation of ranks with the template inside its mask dilated by 2 voxels."""
    inside = fixed_template().ring
    moved = ranks(in_template(head, template_from_head))[inside]
    return correlation(moved, ranks(template(2).data * template_mask(2).data)[inside])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two equally long arrays; 0 when one of them is constant."""
    a = a.astype(np.float64) - a.mean(dtype=np.float64)
    b = b.astype(np.float64) - b.mean(dtype=np.float64)
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norm) if norm > 0 else 0.0
