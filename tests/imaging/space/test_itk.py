"""RAS here, LPS there."""

from __future__ import annotations

import ants
import numpy as np

from mri2pet.imaging.space.itk import Schedule, register_linear
from mri2pet.imaging.space.itk.geometry import (
    affine_of,
    itk_transform,
    moving_from_fixed,
    to_ants,
)
from mri2pet.imaging.space.volume import Volume


def oblique():
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([1.5, -0.8, 2.0])
    affine[:3, 3] = [11, -22, 33]
    return affine


def test_an_image_keeps_its_place():
    affine = oblique()
    image = to_ants(Volume(np.zeros((5, 6, 7), np.float32), affine))
    np.testing.assert_allclose(affine_of(image), affine, atol=1e-6)
    lps = ants.transform_index_to_physical_point(image, [1, 2, 3])
    ras = affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], ras[:3], atol=1e-4)


def test_an_affine_means_the_same_in_both_conventions():
    matrix = oblique()
    transform = itk_transform(matrix)
    point = np.array([3.0, 4.0, -5.0])
    lps = np.array(transform.apply_to_point(point * [-1, -1, 1]))
    np.testing.assert_allclose(lps * [-1, -1, 1], (matrix @ [*point, 1])[:3], atol=1e-6)
    np.testing.assert_allclose(moving_from_fixed(transform), matrix, atol=1e-9)


def test_a_transform_about_a_centre_is_read_right():
    transform = ants.new_ants_transform(precision="double", transform_type="AffineTransform")
    transform.set_parameters([1.1, 0.1, 0, -0.1, 0.9, 0, 0, 0.2, 1.0, 4, 5, 6])
    transform.set_fixed_parameters([7, 8, 9])
    matrix = moving_from_fixed(transform)
    point = np.array([1.0, -2.0, 3.0])
    lps = np.array(transform.apply_to_point(point))
    expected = lps * [-1, -1, 1]
    np.testing.assert_allclose((matrix @ [-1, 2, 3, 1])[:3], expected, atol=1e-6)


def test_registration_finds_a_known_shift():
    grid = np.indices((40, 40, 40)) - 20.0
    blob = np.exp(-(grid[0] ** 2 / 60 + grid[1] ** 2 / 90 + grid[2] ** 2 / 40))
    blob += 0.5 * np.exp(-((grid[0] - 6) ** 2 + (grid[1] + 5) ** 2 + grid[2] ** 2) / 20)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    fixed = Volume(blob.astype(np.float32), affine)
    shifted = affine.copy()
    shifted[:3, 3] = [3.0, -4.0, 2.5]
    found = register_linear(
        fixed,
        Volume(fixed.data, shifted),
        Volume((blob > 0.02).astype(np.float32), affine),
        np.eye(4),
        Schedule((100, 50), (2, 1), (1, 0)),
    )
    expected = np.eye(4)
    expected[:3, 3] = shifted[:3, 3]
    centre = np.array([40.0, 40.0, 40.0, 1.0])
    np.testing.assert_allclose((found @ centre)[:3], (expected @ centre)[:3], atol=0.5)
