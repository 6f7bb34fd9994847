"""The figures that refuse a failed registration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.errors import InputError
from mri2pet.imaging.brain import checks
from mri2pet.imaging.brain.checks import (
    RegistrationChecks,
    apart,
    measure,
    refuse_failed,
    turned,
)
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume

GOOD = RegistrationChecks(1500.0, 0.96, 0.7, 1.0, 1.3, 1.0, 0.4, 1.0)


def nothing_seen():
    return None


def brain():
    return template(2), template_mask(2).data


def moved(x=0.0, scale=1.0):
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[0, 3] = x
    return matrix


def test_the_template_fits_itself():
    volume, mask = brain()
    figures = measure(volume, mask, np.eye(4), volume)
    assert figures.dice_with_template == pytest.approx(1.0)
    assert figures.correlation_with_template == pytest.approx(1.0)
    assert figures.mask_volume_ml == pytest.approx(1883, abs=1)
    assert figures.covered_fraction == 1.0
    white = volume.data[template_wm(2).data > 0.9].mean()
    grey = volume.data[template_gm(2).data > 0.7].mean()
    assert figures.white_to_grey == pytest.approx(white / grey, rel=0.03)
    refuse_failed("t1.nii", figures, nothing_seen)


def test_a_shift_lowers_overlap_and_correlation():
    volume, mask = brain()
    figures = [measure(volume, mask, moved(x), volume) for x in (0, 10, 30)]
    dice = [f.dice_with_template for f in figures]
    fit = [f.correlation_with_template for f in figures]
    assert dice == sorted(dice, reverse=True)
    assert fit == sorted(fit, reverse=True)
    with pytest.raises(InputError, match="registration to the template failed"):
        refuse_failed("t1.nii", figures[2], nothing_seen)


def test_a_cut_field_of_view_is_measured():
    volume, mask = brain()
    cut = Volume(volume.data[:, :, :64], volume.affine)
    figures = measure(cut, mask[:, :, :64], np.eye(4), cut)
    expected = mask[:, :, :64].sum() / mask.sum()
    assert figures.covered_fraction == pytest.approx(expected)
    with pytest.raises(InputError, match="cuts the brain"):
        refuse_failed("t1.nii", figures, nothing_seen)


def test_size_is_the_cube_root_of_the_volume_change():
    volume, mask = brain()
    assert measure(volume, mask, moved(scale=1.2), volume).linear_scale == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"covered_fraction": 0.9}, "holds 90 % of the template's brain, at least 98 %"),
        ({"mask_volume_ml": 200.0}, "mask of 200 ml, expected 700 to 2300"),
        ({"mask_volume_ml": 4000.0}, "mask of 4000 ml"),
        ({"covered_fraction": 0.9799}, "holds 97.99 % of the template's brain, at least 98.00 %"),
        ({"dice_with_template": 0.5}, r"failed \(Dice 0.50, at least 0.85 is needed\)"),
        ({"dice_with_template": 0.8497}, r"Dice 0.8497, at least 0.8500"),
        ({"correlation_with_template": 0.1}, r"failed \(correlation 0.10, at least 0.30"),
        ({"linear_scale": 1.9}, "size ratio 1.90, expected 0.69 to 1.45"),
        ({"white_to_grey": 0.8}, r"white over grey matter 0.80, at least 1.03"),
        ({"sharpness": 0.1}, r"blurred as a PET \(sharpness 0.10, at least 0.22 .* of 1 mm"),
        ({"sharpness": 0.1, "voxel_mm": 2.5}, r"sharpness 0.10, at least 0.15 .* of 2.5 mm"),
    ],
)
def test_each_limit_refuses_with_its_number(change, sentence):
    refuse_failed("t1.nii", GOOD, nothing_seen)
    with pytest.raises(InputError, match=sentence) as caught:
        refuse_failed("t1.nii", replace(GOOD, **change), nothing_seen)
    assert str(caught.value).startswith("t1.nii: ")
    assert "\n" not in str(caught.value)


def test_figures_are_plain_numbers():
    figures = GOOD.as_dict()
    assert figures["mask_volume_ml"] == 1500.0
    assert all(type(value) is float for value in figures.values())


def test_the_cause_stands_in_the_place_of_the_figures():
    bad = replace(GOOD, dice_with_template=0.1)
    with pytest.raises(InputError, match=r"^t1.nii: is upside down\.$"):
        refuse_failed("t1.nii", bad, lambda: "is upside down")


@pytest.mark.parametrize(
    ("value", "limit", "told"),
    [(0.5, 0.85, ("0.50", "0.85")), (0.84996, 0.85, ("0.84996", "0.85000"))],
)
def test_as_many_digits_are_told_as_tell_two_numbers_apart(value, limit, told):
    assert apart(value, limit) == told


def test_a_pet_is_less_sharp_than_a_t1():
    volume, mask = brain()
    sharp = measure(volume, mask, np.eye(4), volume)
    blurred = Volume(gaussian_filter(volume.data, 2.0), volume.affine)
    soft = measure(blurred, mask, np.eye(4), volume)
    assert sharp.voxel_mm == pytest.approx(2.0)
    assert sharp.sharpness > 0.2 > 0.1 > soft.sharpness
    with pytest.raises(InputError, match="blurred as a PET"):
        refuse_failed("t1.nii", replace(soft, white_to_grey=1.3), nothing_seen)


@pytest.mark.parametrize("sizes", [(1, 1, 3), (0.7, 1, 4), (2, 2, 2)])
def test_thick_slices_keep_their_sharpness(sizes):
    """A slab of few slices is not eroded away."""
    shape = [round(150 / size) for size in sizes]
    noise = np.random.default_rng(0).random(shape, np.float32)
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 8, -n // 8) for n in shape)] = True
    volume = Volume(noise, np.diag([*map(float, sizes), 1.0]))
    assert checks._sharpness(volume, mask) > 0.9


@pytest.mark.parametrize(("degrees", "told"), [(30, False), (60, True), (90, True)])
def test_a_head_turned_against_its_header_is_told(degrees, told):
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = 1.1 * Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    warnings = turned(matrix)
    assert len(warnings) == told
    assert all(f"by {degrees} degrees" in text for text in warnings)
