"""A small PET phantom made of the template's tissue maps, with known motion."""

from __future__ import annotations

from functools import cache

import nibabel
import numpy as np

from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.template import template_gm, template_wm
from mri2pet.imaging.space.volume import Volume

CENTRE_MM = np.array([0.0, -17.0, 4.0])


def rigid(rotation_deg=(0.0, 0.0, 0.0), shift_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Rotations about x, y, z (extrinsic) about the brain's centre, then a shift."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    matrix[:3, :3] = turn
    matrix[:3, 3] = CENTRE_MM - turn @ CENTRE_MM + shift_mm
    return matrix


@cache
def uptake() -> Volume:
    """AV45-like uptake of an amyloid-negative brain in template space, 2 mm, 6 mm FWHM."""
    from scipy.ndimage import gaussian_filter

    white, grey = template_wm(2), template_gm(2)
    blurred = gaussian_filter(1.5 * white.data + 1.1 * grey.data, 6.0 / 2.3548 / 2.0)
    return Volume(blurred, white.affine, "SUVR")


def pet_grid(
    voxel_mm=(4.0, 3.6, 4.2), turn_deg: float = 0.0
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a PET grid about the head; `turn_deg` about x makes it oblique."""
    shape = (48, 60, 42)
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = CENTRE_MM - (np.array(shape) - 1) / 2 * voxel_mm
    return shape, rigid((turn_deg, 0.0, 0.0)) @ affine


def frame(scan_from_head: np.ndarray, grid, scale: float, noise: float, seed: int) -> np.ndarray:
    """One frame [X, Y, Z]: `scale` × uptake after a head motion, with count-like noise."""
    shape, affine = grid
    head = uptake()
    clean = resample(head.data, head.affine, shape, affine, np.linalg.inv(scan_from_head))
    spread = noise * np.sqrt(np.maximum(clean, 0.02))
    noisy = clean + spread * np.random.default_rng(seed).standard_normal(shape)
    return (scale * noisy).astype(np.float32)


def error(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Error of a rigid 4 x 4: mm at the brain's centre, and degrees."""
    point = np.append(CENTRE_MM, 1.0)
    apart = np.linalg.inv(truth) @ found
    cosine = (np.trace(apart[:3, :3]) - 1) / 2
    return (
        float(np.linalg.norm(apart @ point - point)),
        float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
    )


def save_voi(path, data, sform, qform, sform_code=2, qform_code=1):
    """Writes a VOI file with these two affines and returns its path."""
    image = nibabel.Nifti1Image(np.asarray(data, np.uint8), sform)
    image.set_sform(sform, code=sform_code)
    image.set_qform(qform, code=qform_code)
    nibabel.save(image, path)
    return path
