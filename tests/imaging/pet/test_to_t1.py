"""Registration of PET: the same input gives the same result."""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.pet.to_t1 import register_rigid
from mri2pet.imaging.space.volume import Volume


def test_two_registrations_are_equal_to_the_bit_and_find_a_shift():
    grid = np.indices((24, 24, 24)) - 11.5
    blob = np.exp(-(grid[0] ** 2 / 40 + grid[1] ** 2 / 70 + grid[2] ** 2 / 25))
    blob += 0.5 * np.exp(-((grid[0] - 4) ** 2 + (grid[1] + 5) ** 2 + grid[2] ** 2) / 12)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    shifted = affine.copy()
    shifted[:3, 3] = [5.0, -3.0, 2.0]
    fixed, moving = (Volume(blob.astype(np.float32), place) for place in (affine, shifted))
    found = [register_rigid(fixed, moving, np.eye(4)) for _ in range(3)]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    centre = affine @ [11.5, 11.5, 11.5, 1.0]
    back = found[0] @ [*(centre[:3] + shifted[:3, 3]), 1.0]
    np.testing.assert_allclose(back[:3], centre[:3], atol=0.8)
    np.testing.assert_allclose(np.linalg.svd(found[0][:3, :3])[1], 1.0, atol=1e-6)
