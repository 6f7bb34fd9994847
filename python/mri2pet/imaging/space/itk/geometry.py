"""Between this package (RAS+ mm, numpy) and ITK (LPS mm, ANTs images).

ITK counts x to the left and y to the back, and its transforms map points of the fixed image
to points of the moving one. This is the only module that knows.
"""

from __future__ import annotations

from typing import Any

import ants
import numpy as np

from mri2pet.imaging.space.volume import Volume

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_ants(volume: Volume) -> Any:
    """An ANTs image (float32) on the volume's own grid.

    The axes are made exactly orthonormal (polar decomposition), which moves nothing on the
    orthogonal grids that reading lets through.
    """
    axes = volume.affine[:3, :3] / volume.voxel_size_mm
    left, _, right = np.linalg.svd(axes)
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=tuple(_FLIP[:3, :3] @ volume.affine[:3, 3]),
        spacing=tuple(volume.voxel_size_mm),
        direction=_FLIP[:3, :3] @ left @ right,
    )


def affine_of(image: Any) -> np.ndarray:
    """Voxel index → RAS mm of an ANTs image, 4 x 4."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.direction) * np.asarray(image.spacing)
    affine[:3, 3] = image.origin
    return _FLIP @ affine


def moving_from_fixed(transform: Any) -> np.ndarray:
    """RAS 4 x 4 of an ITK affine: fixed mm → moving mm.

    ITK stores y = A (x - c) + c + t with A and t as parameters and c as fixed parameters.
    """
    parameters = np.asarray(transform.parameters, dtype=np.float64)
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    lps[:3, 3] = parameters[9:] + centre - lps[:3, :3] @ centre
    return _FLIP @ lps @ _FLIP


def itk_transform(moving_from_fixed_ras: np.ndarray) -> Any:
    """The ITK affine that maps fixed mm to moving mm as this RAS 4 x 4 does."""
    lps = _FLIP @ moving_from_fixed_ras @ _FLIP
    return ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=lps[:3, :3],
        offset=lps[:3, 3],
    )
