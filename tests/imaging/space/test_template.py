"""The template: what is stored is nilearn's."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.space.template import (
    from_nilearn,
    template,
    template_gm,
    template_mask,
    template_wm,
)

VOLUMES = {"template": template, "brain_mask": template_mask, "gm": template_gm, "wm": template_wm}


@pytest.mark.parametrize("name", VOLUMES)
def test_what_is_stored_is_what_nilearn_gives(name):
    stored, made = VOLUMES[name](2), from_nilearn(name, 2)
    assert stored.data.dtype == made.data.dtype
    assert stored.unit == made.unit
    np.testing.assert_array_equal(stored.affine, made.affine)
    np.testing.assert_allclose(stored.data.astype(float), made.data, atol=1e-6)


def test_every_second_voxel_of_1_mm_is_one_of_2_mm():
    fine = template_mask(1)
    assert fine.voxel_size_mm.tolist() == [1.0, 1.0, 1.0]
    assert np.mean(fine.data[::2, ::2, ::2] == template_mask(2).data) > 0.99


def test_other_resolutions_are_refused():
    with pytest.raises(ValueError, match="1 or 2 mm, not 3"):
        template(3)
