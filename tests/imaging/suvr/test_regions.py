"""Regions in template space, against geometry, known arrays and the Centiloid VOIs."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mri2pet.imaging.suvr import regions
from mri2pet.imaging.suvr.regions import (
    GREY_REGIONS,
    cerebellum,
    cortical_composite,
    cortical_suvr,
    region_fractions,
    region_mean,
    region_weights,
    regional_suvr,
)

SHAPE = (16, 32, 32)


def _on_template(image, like) -> np.ndarray:
    """Resample through the sform alone: the VOIs' qform is wrong."""
    matrix = np.linalg.inv(image.header.get_sform()) @ like.affine
    data = np.asarray(image.dataobj, dtype=np.float32)
    return ndimage.affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], output_shape=like.data.shape, order=1
    )


def test_masks_are_apart_symmetric_and_of_plausible_size():
    small, large = cerebellum(2), cortical_composite(2)
    assert not (small.data * large.data).any()
    for mask, low_ml, high_ml in ((small, 120, 220), (large, 200, 450)):
        assert low_ml < mask.data.sum() * 0.008 < high_ml
        mirrored = mask.data[::-1]
        overlap = 2 * (mask.data * mirrored).sum() / (mask.data.sum() + mirrored.sum())
        assert overlap > 0.85


def test_both_resolutions_agree():
    for region in (cerebellum, cortical_composite):
        fine, coarse = (region(r).data.sum() * r**3 for r in (1, 2))
        assert fine == pytest.approx(coarse, rel=0.12)


def test_centiloid_vois(shared_data):
    ours = cerebellum(2)
    theirs = nibabel.load(shared_data / "atlas" / "centiloid_voi_WhlCbl_2mm.nii")
    voi = _on_template(theirs, ours) > 0.5
    mask = ours.data > 0
    assert 2 * (mask & voi).sum() / (mask.sum() + voi.sum()) > 0.72
    assert (mask & voi).sum() > 0.92 * voi.sum()
    composite = cortical_composite(2).data > 0
    target = nibabel.load(shared_data / "atlas" / "centiloid_voi_ctx_2mm.nii")
    voi = _on_template(target, ours) > 0.5
    assert 2 * (composite & voi).sum() / (composite.sum() + voi.sum()) > 0.45


def test_real_florbetapir_average_measures_as_with_the_vois(shared_data):
    pet = nibabel.load(shared_data / "pet" / "rPOP_Template_FBP_pos.nii")
    data = _on_template(pet, cerebellum(2))
    ratio = data[cortical_composite(2).data > 0].mean() / data[cerebellum(2).data > 0].mean()
    assert ratio == pytest.approx(1.505, abs=0.06)


def test_weights_are_memberships():
    rng = np.random.default_rng(0)
    points = rng.uniform(-70, 70, (200, 3))
    weights = region_weights(points)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(weights, region_weights(points * [-1, 1, 1]), atol=1e-6)


def test_fractions_hold_the_region_volume():
    voxel_ml = (192 / SHAPE[1]) * (192 / SHAPE[2]) * (160 / SHAPE[0]) / 1000.0
    volume = region_fractions("cerebellum", SHAPE).sum() * voxel_ml
    assert volume == pytest.approx(cerebellum(1).data.sum() / 1000.0, rel=0.05)


def test_fractions_lie_where_the_region_is():
    k, _, j = np.nonzero(region_fractions("cerebellum", SHAPE) > 0.5)
    assert k.max() < SHAPE[0] / 2
    assert j.max() < SHAPE[2] / 2


def test_means_of_a_known_array():
    weights = region_fractions("cortex", SHAPE)
    pet = np.where(weights > 0, 1.5, 1.0)
    assert region_mean(pet, "cortex", SHAPE) == pytest.approx(1.5)
    assert cortical_suvr(np.full(SHAPE, 3.0)) == pytest.approx(1.0)
    pet = np.ones(SHAPE) + region_fractions("cerebellum", SHAPE)
    assert cortical_suvr(pet) < 1.0


def test_each_region_is_measured_by_itself():
    pet = np.ones(SHAPE)
    assert regional_suvr(pet) == pytest.approx(dict.fromkeys(("cortex", *GREY_REGIONS), 1.0))
    pet = pet + region_fractions("frontal", SHAPE)
    measured = regional_suvr(pet)
    assert measured["frontal"] == max(measured.values()) > 1.3
    assert measured["occipital"] == pytest.approx(1.0)
    assert measured["cortex"] == pytest.approx(cortical_suvr(pet))


def test_the_composite_is_made_of_its_regions():
    parts = sum(region_fractions(name, SHAPE) for name in regions.COMPOSITE)
    np.testing.assert_allclose(parts, region_fractions("cortex", SHAPE), atol=1e-6)
    volumes_ml = {name: regions._mask(name, 1)[0].sum() / 1000 for name in GREY_REGIONS}
    assert 15 < min(volumes_ml.values()) < max(volumes_ml.values()) < 130


def test_wrong_calls():
    with pytest.raises(ValueError, match="unknown region"):
        region_mean(np.ones(SHAPE), "pons")
    with pytest.raises(ValueError, match="expected"):
        region_mean(np.ones(SHAPE), "cortex", (8, 32, 32))


def test_the_stored_masks_are_what_the_code_computes():
    for stored, computed in zip(regions._masks(1), regions.computed_masks(1), strict=True):
        assert stored.dtype == computed.dtype
        np.testing.assert_array_equal(stored, computed)
