"""The search for the brain."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.brain.registration import working_volume
from mri2pet.imaging.brain.starts import find_starts, ranks
from mri2pet.imaging.space.resampling import resample
from mri2pet.imaging.space.volume import Volume, reorder


@pytest.fixture(scope="module")
def working_head(head):
    data, affine, _ = reorder(head.image.get_fdata(dtype=np.float32), head.image.affine)
    return working_volume(Volume(data, affine))


def error_mm(start, truth):
    centre = [0.0, -17.0, 4.0, 1.0]
    return np.linalg.norm((np.linalg.inv(start) @ centre - np.linalg.inv(truth) @ centre)[:3])


@pytest.mark.slow
def test_the_best_pose_is_near_the_truth(working_head, head):
    starts = find_starts(working_head, 3)
    assert len(starts) == 3
    assert starts[0].score >= starts[1].score >= starts[2].score
    assert error_mm(starts[0].template_from_subject, head.template_from_subject) < 10


def test_very_bright_scalp_does_not_matter(working_head, head):
    bright = np.where(working_head.data > 500, working_head.data * 10, working_head.data)
    best = find_starts(Volume(bright, working_head.affine), 1)[0]
    assert error_mm(best.template_from_subject, head.template_from_subject) < 10


def test_a_pitched_head_is_found(head, working_head):
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", 38, degrees=True).as_matrix()
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    grid[:3, 3] = -130
    centre = (np.linalg.inv(head.template_from_subject) @ [0, -17, 4, 1])[:3]
    back = turn.copy()
    back[:3, 3] = centre
    data = resample(working_head.data, working_head.affine, (130, 130, 130), grid, back)
    best = find_starts(Volume(data, grid), 1)[0]
    truth = head.template_from_subject @ back
    assert error_mm(best.template_from_subject, truth) < 15
    tilt = best.template_from_subject[:3, :3] @ np.linalg.inv(truth[:3, :3])
    tilt /= np.cbrt(np.linalg.det(tilt))
    assert np.degrees(np.arccos(np.clip((np.trace(tilt) - 1) / 2, -1, 1))) < 15


def test_ranks_run_from_zero_to_one_and_ignore_outliers():
    data = np.concatenate([np.zeros(500), np.linspace(10, 100, 1000)])
    data[-1] = 1e6
    ranked = ranks(data)
    assert ranked[data == 0].max() == 0
    assert ranked.max() == pytest.approx(1.0)
    middle = ranked[np.isclose(data, 55, atol=0.2)]
    assert np.allclose(middle, 0.5, atol=0.01)
    assert not ranks(np.zeros((2, 2, 2))).any()
