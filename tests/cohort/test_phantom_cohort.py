"""The phantom cohort comes to model space with the transforms it brings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri2pet.cohort.cache import build_cache
from mri2pet.cohort.phantom import make_cohort
from mri2pet.cohort.phantom.cohort import draw_people
from mri2pet.imaging.space.model_space import to_model_space
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.suvr.regions import cortical_suvr

MRI_SHAPE, PET_SHAPE = (32, 72, 72), (32, 64, 64)


def seed_with_one_visit() -> int:
    return next(
        s for s in range(99) if len(draw_people(pairs=1, unpaired=0, seed=s)[0].visits) == 1
    )


@pytest.mark.slow
def test_a_phantom_lies_on_the_template_and_has_its_suvr(tmp_path):
    make_cohort(tmp_path, pairs=1, unpaired=0, seed=seed_with_one_visit())
    cache = build_cache(tmp_path, mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE, registration="truth")
    (row,) = cache.rows()
    assert row.diagnosis in ("CN", "MCI", "AD")
    assert row.mmse is not None
    assert row.days_apart is not None
    mri = np.asarray(cache.mri(row), dtype=np.float32)
    expected = to_model_space(template(2), np.eye(4), template_mask(2).data, MRI_SHAPE, "cubic")
    overlap = 2 * ((mri > 0) & (expected > 0)).sum() / ((mri > 0).sum() + (expected > 0).sum())
    assert overlap > 0.9
    assert np.corrcoef(mri.ravel(), expected.ravel())[0, 1] > 0.85
    assert row.truth is not None
    truth = json.loads(row.truth.read_text())["cortical_suvr"]
    assert cortical_suvr(np.asarray(cache.pet(row))) == pytest.approx(truth, abs=0.12)
