"""Cuts show the right anatomy on the right side, for any stored orientation."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from mri2pet.imaging.space.volume import Volume
from mri2pet.report.planes import Box, cut, sample_box

BOX = Box(np.array([-12.0, -14.0, -10.0]), np.array([12.0, 14.0, 10.0]))
ORIENTATIONS = [
    "".join(signs)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for signs in itertools.product(*axes)
]


def marked(orientation: str = "RAS") -> Volume:
    """1 at the left (x < -6), 2 anterior (y > 8), 4 superior (z > 6), added up; 1 mm voxels."""
    grid = np.meshgrid(*(np.arange(-n, n + 1.0) for n in (15, 17, 13)), indexing="ij")
    x, y, z = grid
    data = (1.0 * (x < -6) + 2.0 * (y > 8) + 4.0 * (z > 6)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, 3] = (-15, -17, -13)
    image = nibabel.Nifti1Image(data, affine)
    ornt = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(orientation)
    )
    turned = image.as_reoriented(ornt)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == orientation
    return Volume(np.asarray(turned.dataobj), turned.affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_directions(orientation: str) -> None:
    volume = marked(orientation)
    axial = cut(volume, "axial", 0.0, BOX, pixel_mm=1.0)
    assert axial.shape == (29, 25)
    assert axial[14, 0] == 1
    assert axial[14, -1] == 0
    assert axial[0, 12] == 2
    coronal = cut(volume, "coronal", 0.0, BOX, pixel_mm=1.0)
    assert coronal[10, 0] == 1
    assert coronal[0, 12] == 4
    sagittal = cut(volume, "sagittal", 0.0, BOX, pixel_mm=1.0)
    assert sagittal[10, -1] == 2
    assert sagittal[10, 0] == 0
    assert sagittal[0, 14] == 4


def test_position_and_transform() -> None:
    volume = marked()
    assert cut(volume, "axial", 9.0, BOX, pixel_mm=1.0)[14, 12] == 4
    shift = np.eye(4)
    shift[2, 3] = 9.0
    moved = cut(volume, "axial", 0.0, BOX, pixel_mm=1.0, volume_from_display=shift)
    assert moved[14, 12] == 4


def test_outside_the_volume_is_black() -> None:
    far = Box(BOX.low - 40, BOX.low - 30)
    assert not sample_box(marked(), far, 1.0).any()


def test_box_around_an_oblique_mask() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 4, 4] = True
    turn = np.deg2rad(90)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    box = Box.around(Volume(mask, affine), margin_mm=1.0)
    np.testing.assert_allclose(box.low, [-5, 1, 3], atol=1e-9)
    np.testing.assert_allclose(box.high, [-3, 7, 5], atol=1e-9)
