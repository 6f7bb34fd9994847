"""Style transfer does what its formula says, for every slice as if it were alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from mri2pet.errors import UsageError
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.style.slicewise import stylize_slicewise
from mri2pet.style.transfer import (
    StyleOptions,
    StyleProblem,
    gram,
    stylize,
    unit_range,
)
from mri2pet.style.vgg import NORMALISED, STYLE_WEIGHTS
from mri2pet.weights import WeightsOrigin

from .conftest import MRI_SHAPE, PET_SHAPE, blobs

#: Random weights make small features; with these weights no slice stops before its last step.
WEIGHTS = {"style_weight": 1e6, "content_weight": 1e3}


@pytest.fixture(scope="module")
def exact_vgg(random_vgg):
    """In float64, where rounding cannot tell batched from single slices."""
    return copy.deepcopy(random_vgg).double()


def test_all_slices_at_once_are_the_slices_one_by_one(mri, pet, exact_vgg):
    options = StyleOptions(steps=15, **WEIGHTS)
    together = stylize(mri, pet, exact_vgg, options)
    alone = stylize_slicewise(mri, pet, exact_vgg, options)
    assert together.kij.dtype == np.float32
    np.testing.assert_allclose(together.kij, alone, atol=1e-6)
    assert np.abs(alone - to_pet_size(mri, pet.shape)).max() > 0.05


def test_batch_size_does_not_matter(mri, pet, exact_vgg):
    one = stylize(mri, pet, exact_vgg, StyleOptions(steps=8, **WEIGHTS))
    two = stylize(mri, pet, exact_vgg, StyleOptions(steps=8, slices_at_once=3, **WEIGHTS))
    np.testing.assert_allclose(one.kij, two.kij, atol=1e-6)
    np.testing.assert_allclose(one.loss_last, two.loss_last, rtol=1e-6)
    assert two.steps.shape == two.diverged.shape == (PET_SHAPE[0],)


def test_a_slice_does_not_see_the_others(mri, pet, exact_vgg):
    options = StyleOptions(steps=6, **WEIGHTS)
    before = stylize(mri, pet, exact_vgg, options).kij
    other = pet.copy()
    other[2] = 1.0 - other[2]
    after = stylize(mri, other, exact_vgg, options).kij
    np.testing.assert_allclose(after[[0, 1, 3]], before[[0, 1, 3]], atol=1e-6)
    assert np.abs(after[2] - before[2]).max() > 0.01


def test_loss_is_the_formula(pet, exact_vgg):
    content, style = (torch.from_numpy(pet[k : k + 1]).double() for k in (1, 2))
    options = StyleOptions(style_weight=30.0, content_weight=0.5)
    problem = StyleProblem(content, style, exact_vgg, options)
    image = torch.rand(
        1, 3, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )

    def features(x):
        return exact_vgg(x)

    expected = 0.5 * torch.nn.functional.mse_loss(
        features(image)[3], features(content[:, None].repeat(1, 3, 1, 1))[3]
    )
    for mine, theirs in zip(
        features(image), features(style[:, None].repeat(1, 3, 1, 1)), strict=True
    ):
        grams = []
        for f in (mine, theirs):
            _, c, h, w = f.shape
            flat = f.reshape(c, h * w)
            grams.append(flat @ flat.T / (c * h * w))
        expected = expected + 30.0 * torch.nn.functional.mse_loss(*grams)
    torch.testing.assert_close(problem.loss(image, torch.tensor([0]))[0], expected)


def test_the_style_weight_decides_between_style_and_content(pet, random_vgg):
    """Heavy content keeps the slice almost as it was; a heavy style takes its place."""
    mri = blobs((PET_SHAPE[0], *MRI_SHAPE[1:]), 1)
    content = to_pet_size(mri, PET_SHAPE)

    def made(content_weight):
        return stylize(mri, pet, random_vgg, StyleOptions(40, 1e6, content_weight))

    def likeness(done):
        return [np.corrcoef(done.kij[k].ravel(), content[k].ravel())[0, 1] for k in range(1, 4)]

    keeps, takes = made(1e3), made(1.0)
    for done in (keeps, takes):
        assert done.kij.shape == PET_SHAPE
        assert done.kij.min() >= 0
        assert done.kij.max() <= 1
        assert not done.diverged.any()
        assert np.abs(done.kij[0]).max() < 1e-6  # empty in both images
        assert (done.loss_last[1:] < done.loss_first[1:]).all()
    assert min(likeness(keeps)) > 0.99
    assert (takes.loss_last[1:] < 0.2 * takes.loss_first[1:]).all()
    assert max(likeness(takes)) < 0.9


def test_without_style_the_content_stays(mri, pet, random_vgg):
    done = stylize(mri, pet, random_vgg, StyleOptions(steps=5, style_weight=0.0))
    np.testing.assert_allclose(done.kij, to_pet_size(mri, PET_SHAPE), atol=1e-6)
    assert done.steps.max() == 0


def test_without_a_number_the_weights_file_decides(mri, pet, random_vgg):
    known = copy.copy(random_vgg)
    known.origin = WeightsOrigin("normalised", NORMALISED.sha256, pretrained=True)
    assert StyleOptions().weight_for(known.origin) == STYLE_WEIGHTS[NORMALISED]
    assert StyleOptions().weight_for(random_vgg.origin) == 1000.0
    assert StyleOptions(style_weight=0.0).weight_for(known.origin) == 0.0
    first = [
        stylize(mri, pet, known, StyleOptions(steps=1, style_weight=weight)).loss_first
        for weight in (None, STYLE_WEIGHTS[NORMALISED], 1000.0)
    ]
    np.testing.assert_array_equal(first[0], first[1])
    assert (first[0][1:] > 2 * first[2][1:]).all()


def test_terms_of_larger_features_grow_as_their_fourth_power_and_square(mri, pet, exact_vgg):
    """So features s times as large need a style weight s² times as small."""
    larger, size = copy.deepcopy(exact_vgg), 3.0
    larger.features[0].weight.mul_(size)  # ReLU and pooling hand the factor on; no bias is set
    options = StyleOptions(style_weight=900.0)
    content = torch.from_numpy(to_pet_size(mri, pet.shape))
    problems = [
        StyleProblem(content, torch.from_numpy(pet), v, options) for v in (exact_vgg, larger)
    ]
    image, rows = problems[0].start.flip(2), torch.arange(len(content))
    (style, content_term), (style_l, content_l) = (p.terms(image, rows) for p in problems)
    torch.testing.assert_close(style_l, size**4 * style)
    torch.testing.assert_close(content_l, size**2 * content_term)
    torch.testing.assert_close(problems[0].loss(image, rows), 900.0 * style.sum(0) + content_term)


def test_gram_matrices_are_per_slice():
    features = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.einsum("schw,sdhw->scd", features, features) / (4 * 5 * 6)
    torch.testing.assert_close(gram(features), expected)


def test_style_images_span_zero_to_one(pet):
    scaled = unit_range(2.5 * pet + 1)
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": 0}, "steps"),
        ({"slices_at_once": 0}, "slices at once"),
        ({"style_weight": -1.0}, "style weight"),
        ({"style_weight": float("nan")}, "style weight"),
        ({"content_weight": float("inf")}, "content weight"),
    ],
)
def test_impossible_options_are_refused(mri, pet, random_vgg, options, reason):
    with pytest.raises(UsageError, match=reason):
        stylize(mri, pet, random_vgg, StyleOptions(**options))
