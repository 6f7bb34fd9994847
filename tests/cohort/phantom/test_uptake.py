"""Uptake: the reference, the amyloid pattern, and the range of cortical SUVR."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.cohort.phantom import mri, pet
from mri2pet.cohort.phantom.anatomy import Shape, make_anatomy
from mri2pet.cohort.phantom.fields import sample
from mri2pet.cohort.phantom.people import generator
from mri2pet.cohort.phantom.template import HEAD_SHAPE
from mri2pet.imaging.suvr.regions import REGIONS


@pytest.fixture(scope="module")
def anatomy():
    shape = Shape(np.eye(4), np.zeros((3, *HEAD_SHAPE), np.float32), np.ones(3))
    return make_anatomy(shape, 0.0)


@pytest.fixture(scope="module")
def tracer():
    ones = np.ones(HEAD_SHAPE, np.float32)
    return pet.Tracer(white=1.5, grey=0.81, region_factor=np.ones(len(REGIONS)), modulation=ones)


@pytest.fixture(scope="module")
def negative(anatomy, tracer):
    return pet.true_uptake(anatomy, tracer, 0.0, 6.0)


@pytest.fixture(scope="module")
def positive(anatomy, tracer):
    return pet.true_uptake(anatomy, tracer, 0.6, 6.0)


def _at(uptake, *mm: tuple[float, float, float]) -> np.ndarray:
    return sample(uptake.suvr, np.asarray(mm, np.float32).T)[0]


def test_amyloid_moves_cortical_suvr(anatomy, tracer, negative, positive):
    assert 0.95 < negative.cortical_suvr < 1.12
    assert 1.4 < positive.cortical_suvr < 1.7
    assert pet.true_uptake(anatomy, tracer, 1.05, 6.0).cortical_suvr > 1.8


def test_white_matter_binds_in_everybody(negative, positive):
    for uptake in (negative, positive):
        assert 1.2 < _at(uptake, (26, -20, 30), (-26, -20, 30)).mean() < 1.75


def test_pattern_of_amyloid(negative, positive):
    places = ((7, -60, 32), (-7, -60, 32)), ((10, -88, 6), (-10, -88, 6)), ((0, -62, -30),)
    rise = [float((_at(positive, *p) - _at(negative, *p)).mean()) for p in places]
    precuneus, occipital, cerebellum = rise
    assert precuneus > 0.4
    assert occipital < 0.65 * precuneus
    assert abs(cerebellum) < 0.05


def test_resolution_is_that_of_the_scanner(anatomy, tracer):
    sharp, blurred = (pet.true_uptake(anatomy, tracer, 0.0, fwhm).suvr for fwhm in (5.0, 8.0))
    assert np.abs(np.diff(blurred.data)).mean() < 0.85 * np.abs(np.diff(sharp.data)).mean()


def test_scanners_vary_within_the_stated_ranges():
    scanners = [pet.draw_settings(generator(1, n, 4)) for n in range(200)]
    assert all(5.0 <= s.fwhm_mm <= 8.0 for s in scanners)
    assert all(2.0 <= v <= 3.5 for s in scanners for v in s.voxel_mm)
    assert {s.frames for s in scanners} == {1, 4, 5, 6}


def test_mri_protocols_vary_within_the_stated_ranges():
    drawn = [mri.draw_settings(generator(1, n, 2)) for n in range(300)]
    assert all(1.15 <= 1.0 / s.contrast.grey <= 1.81 for s in drawn)
    assert all(s.contrast.csf < s.contrast.grey < 1.0 for s in drawn)
    assert all(0.8 <= v <= 1.3 for s in drawn for v in s.voxel_mm)
    assert all(s.bias <= 0.2 for s in drawn)
    assert {s.orientation for s in drawn} == set(mri.ORIENTATIONS)
    assert 0.2 < np.mean([bool(s.obliquity_deg.any()) for s in drawn]) < 0.4
    assert np.mean([s.keep_head for s in drawn]) > 0.75
