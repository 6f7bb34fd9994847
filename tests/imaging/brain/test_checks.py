"""The figures that refuse a failed registration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.brain.checks import RegistrationChecks, measure, refuse_failed
from mri2pet.imaging.space.template import template, template_gm, template_mask, template_wm
from mri2pet.imaging.space.volume import Volume

GOOD = RegistrationChecks(1500.0, 0.96, 0.7, 1.0, 1.3, 1.0)


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
    refuse_failed("t1.nii", figures)


def test_a_shift_lowers_overlap_and_correlation():
    volume, mask = brain()
    figures = [measure(volume, mask, moved(x), volume) for x in (0, 10, 30)]
    dice = [f.dice_with_template for f in figures]
    fit = [f.correlation_with_template for f in figures]
    assert dice == sorted(dice, reverse=True)
    assert fit == sorted(fit, reverse=True)
    with pytest.raises(InputError, match="registration to the template failed"):
        refuse_failed("t1.nii", figures[2])


def test_a_cut_field_of_view_is_measured():
    volume, mask = brain()
    cut = Volume(volume.data[:, :, :64], volume.affine)
    figures = measure(cut, mask[:, :, :64], np.eye(4), cut)
    expected = mask[:, :, :64].sum() / mask.sum()
    assert figures.covered_fraction == pytest.approx(expected)
    with pytest.raises(InputError, match="cuts the brain"):
        refuse_failed("t1.nii", figures)


def test_size_is_the_cube_root_of_the_volume_change():
    volume, mask = brain()
    assert measure(volume, mask, moved(scale=1.2), volume).linear_scale == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"covered_fraction": 0.9}, "holds 90 % of the template's brain, at least 98 %"),
        ({"mask_volume_ml": 200.0}, "mask of 200 ml, expected 700 to 2300"),
        ({"mask_volume_ml": 4000.0}, "mask of 4000 ml"),
        ({"dice_with_template": 0.5}, "Dice 0.50, at least 0.85"),
        ({"correlation_with_template": 0.1}, "correlation 0.10, at least"),
        ({"linear_scale": 1.9}, "size ratio 1.90"),
        ({"white_to_grey": 0.8}, r"white over grey matter 0.80, at least 1.03"),
    ],
)
def test_each_limit_refuses_with_its_number(change, sentence):
    refuse_failed("t1.nii", GOOD)
    with pytest.raises(InputError, match=sentence) as caught:
        refuse_failed("t1.nii", replace(GOOD, **change))
    assert str(caught.value).startswith("t1.nii: ")
    assert "\n" not in str(caught.value)


def test_figures_are_plain_numbers():
    figures = GOOD.as_dict()
    assert figures["mask_volume_ml"] == 1500.0
    assert all(type(value) is float for value in figures.values())
