"""The share of a mask's rim that is as bright as fat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from mri2pet.imaging.brain.rim import FAT_TO_WHITE, RIM_MM, bright_rim
from mri2pet.imaging.space.template import template, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume


@pytest.fixture(scope="module")
def brain():
    white = np.median(template(1).data[template_wm(1).data > 0.9])
    return template(1), template_mask(1).data, white


def test_a_brain_has_no_bright_rim(brain):
    volume, mask, _ = brain
    assert bright_rim(volume, mask, np.eye(4)) < 0.001


def test_the_painted_share_of_the_rim_is_found(brain):
    volume, mask, white = brain
    rim = mask & ~binary_erosion(mask, iterations=RIM_MM)
    fat = rim.copy()
    fat[:120] = False
    for level, expected in ((1.3 * FAT_TO_WHITE, fat.sum() / rim.sum()), (1.0, 0.0)):
        painted = Volume(np.where(fat, level * white, volume.data), volume.affine)
        assert bright_rim(painted, mask, np.eye(4)) == pytest.approx(expected, abs=0.001)


def test_fat_outside_and_deep_inside_does_not_count(brain):
    volume, mask, white = brain
    deep = np.zeros_like(mask)
    deep[95:105, 110:120, 90:100] = True
    scalp = binary_dilation(mask, iterations=6) & ~binary_dilation(mask, iterations=2)
    painted = np.where(scalp | deep, 2 * white, volume.data)
    assert bright_rim(Volume(painted, volume.affine), mask, np.eye(4)) < 0.001


def test_the_subjects_own_size_and_pose_do_not_matter(brain):
    volume, mask, white = brain
    bulge = mask & ~binary_erosion(mask, iterations=RIM_MM)
    bulge[:120] = False
    data = np.where(bulge, 2 * white, volume.data)
    expected = bright_rim(Volume(data, volume.affine), mask, np.eye(4))
    pose = np.diag([1.1, 1.1, 1.1, 1.0])
    pose[:3, 3] = [30.0, -20.0, 10.0]
    moved = Volume(data, np.linalg.inv(pose) @ volume.affine)
    assert bright_rim(moved, mask, pose) == pytest.approx(expected, abs=1e-4)


def test_an_empty_mask_has_no_rim(brain):
    volume, mask, _ = brain
    assert bright_rim(volume, np.zeros_like(mask), np.eye(4)) == 0.0
