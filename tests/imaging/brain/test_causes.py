"""What is said about an image whose registration failed."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.imaging.brain import causes
from mri2pet.imaging.brain.causes import cause
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.imaging.space.volume import Volume


@pytest.fixture(scope="module")
def brain():
    return template(2).data * template_mask(2).data, template(2).affine


def test_a_brain_of_an_adult_gives_no_cause(brain):
    data, affine = brain
    assert cause(Volume(data, affine)) is None


def test_a_small_brain_is_named_with_its_volume(brain):
    data, affine = brain
    found = cause(Volume(data, np.diag([0.6, 0.6, 0.6, 1.0]) @ affine))
    assert "brain is too small for the template of adults" in found
    told = float(found.split("(about ")[1].split()[0])
    assert told == pytest.approx(1883 * 0.6**3, rel=0.35)


def test_a_large_brain_is_named_with_its_volume(brain, monkeypatch):
    monkeypatch.setattr(causes, "best_score", lambda head, size: 0.9 if size == 0.6 else 0.5)
    assert "brain is too large for the template of adults (about 8718 ml" in cause(Volume(*brain))


def test_a_background_as_bright_as_tissue_is_named(brain):
    data, affine = brain
    noise = np.random.default_rng(0).random(data.shape, dtype=np.float32) * data.max()
    uniform = Volume(np.where(data > 0, data, noise), affine)
    assert "background is nearly as bright as tissue" in cause(uniform)


def test_missing_slices_are_named(brain):
    data, affine = brain
    cut = data.copy()
    cut[:, 50:60] = 0
    assert "10 slices between others hold only zeros (from back to front)" in cause(
        Volume(cut, affine)
    )
