"""Image metrics against their definitions and against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.evaluation.metrics import (
    DATA_RANGE_SUVR,
    mean_absolute_error,
    psnr,
    ssim,
    ssim_map,
)

SHAPE = (17, 21, 24)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    measured = rng.random(SHAPE).cumsum(axis=0) / 8
    predicted = measured + 0.1 * rng.standard_normal(SHAPE)
    return predicted.astype(np.float32), measured.astype(np.float32)


@pytest.fixture
def brain():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:12, 4:18, 5:20] = True
    return mask


def test_only_the_brain_counts(pair, brain):
    predicted, measured = pair
    changed = np.where(brain, predicted, predicted + 100)
    assert mean_absolute_error(changed, measured, brain) == mean_absolute_error(
        predicted, measured, brain
    )
    assert psnr(changed, measured, brain) == psnr(predicted, measured, brain)


def test_mae_and_psnr_of_a_constant_error(brain):
    measured = np.ones(SHAPE)
    assert mean_absolute_error(measured + 0.25, measured, brain) == pytest.approx(0.25)
    assert psnr(measured + 0.25, measured, brain) == pytest.approx(
        20 * math.log10(DATA_RANGE_SUVR / 0.25)
    )
    assert psnr(measured, measured, brain) == math.inf


def test_psnr_is_that_of_scikit_image(pair):
    metrics = pytest.importorskip("skimage.metrics")
    predicted, measured = pair
    expected = metrics.peak_signal_noise_ratio(measured, predicted, data_range=2.0)
    assert psnr(predicted, measured, np.ones(SHAPE, bool), 2.0) == pytest.approx(expected, rel=1e-5)


def test_ssim_is_that_of_scikit_image(pair, brain):
    metrics = pytest.importorskip("skimage.metrics")
    predicted, measured = (v.astype(np.float64) for v in pair)
    _, expected = metrics.structural_similarity(
        measured,
        predicted,
        data_range=2.5,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    np.testing.assert_allclose(ssim_map(predicted, measured, 2.5), expected, atol=1e-10)
    assert ssim(predicted, measured, brain, 2.5) == pytest.approx(expected[brain].mean())


def test_ssim_is_one_for_equal_volumes_and_falls_with_blur(pair, brain):
    from scipy.ndimage import gaussian_filter

    _, measured = pair
    values = [ssim(gaussian_filter(measured, s), measured, brain) for s in (0, 0.7, 1.5, 3)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert values[3] < 0.97


@pytest.mark.parametrize("metric", [mean_absolute_error, psnr, ssim])
def test_shapes_and_masks_are_checked(metric, pair, brain):
    predicted, measured = pair
    with pytest.raises(ValueError, match="shapes differ"):
        metric(predicted[1:], measured, brain)
    with pytest.raises(ValueError, match="mask"):
        metric(predicted, measured, brain & False)
    with pytest.raises(ValueError, match="mask"):
        metric(predicted, measured, brain.astype(np.float32))
