"""When deepbet's mask is asked for, and when it is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri2pet.imaging import pipeline
from mri2pet.imaging.brain import choice, deepbet
from mri2pet.imaging.brain.checks import RegistrationChecks
from mri2pet.imaging.space.volume import Volume, reorder

GOOD = RegistrationChecks(1500.0, 0.96, 0.7, 1.0, 1.3, 1.0, 0.4, 1.0)
CLOCK = pipeline._Clock(None)
FAT = 4 * choice.MAX_BRIGHT_RIM


@pytest.mark.parametrize(
    ("change", "rim", "doubt"),
    [
        ({}, 0.0, False),
        ({}, choice.MAX_BRIGHT_RIM, False),
        ({}, FAT, True),
        ({"mask_volume_ml": 2400.0}, 0.0, True),
        ({"dice_with_template": 0.8}, 0.0, True),
    ],
)
def test_the_template_is_in_doubt_when_a_check_fails_or_the_rim_is_bright(change, rim, doubt):
    assert choice.in_doubt(replace(GOOD, **change), rim) is doubt


@pytest.mark.parametrize(
    ("voxel_ml", "shift", "reason"),
    [
        (1.0, 0, None),
        (0.79, 0, "790 ml, expected 800 to 2200"),
        (0.81, 0, None),
        (2.19, 0, None),
        (2.21, 0, "2210 ml"),
        (1.0, 100, None),
        (1.0, 110, r"Dice 0.890 with the template's mask, at least 0.9"),
    ],
)
def test_a_learned_mask_needs_a_brains_volume_and_the_templates_place(voxel_ml, shift, reason):
    template = np.zeros((1, 1, 2000), dtype=bool)
    template[..., :1000] = True
    found = choice.why_not(np.roll(template, shift, axis=2), template, voxel_ml)
    assert found is None if reason is None else reason in found


def test_no_mask_at_all_is_refused():
    assert "0 ml" in choice.why_not(*np.zeros((2, 3, 3, 3), dtype=bool), 1.0)


def test_a_rim_as_bright_as_before_does_not_help():
    assert choice.no_better(choice.MAX_BRIGHT_RIM, 0.0) is None
    assert choice.no_better(FAT, 2 * FAT) is None
    assert "2.0 % of its rim" in choice.no_better(FAT, FAT)


@pytest.fixture(scope="module")
def first(head):
    """The head and what a template's mask that is the truth would give, without registration."""
    data, affine, _ = reorder(head.image.get_fdata(dtype=np.float32), head.image.affine)
    subject = Volume(data, affine)
    mask, _, _ = reorder(head.brain_mask, head.image.affine)
    corrected = pipeline._corrected_brain("head", subject, mask)
    placed = pipeline._Placed(mask, *corrected, head.template_from_subject)
    return subject, pipeline._measured(placed, subject, "template")


@pytest.fixture
def learned(first, monkeypatch):
    """deepbet as if installed; it takes `masks[0]` for brain, and counts how often."""
    from scipy.ndimage import binary_erosion

    subject, found = first
    masks = [binary_erosion(found.placed.mask)]
    calls = []

    def brain(volume, template_from_subject):
        calls.append(volume)
        return Volume(masks[0].astype(np.float32), subject.affine, "1")

    def even(name, given, mask):
        """The subject without a bias field to take off, which is tested elsewhere."""
        return given, mask

    monkeypatch.setattr(deepbet, "version", lambda: "1.0.2")
    monkeypatch.setattr(deepbet, "deepbet_brain", brain)
    monkeypatch.setattr(pipeline, "_corrected_brain", even)
    return masks, calls


def chosen(first, extractor, rim=None):
    subject, found = first
    if rim is not None:
        found = replace(found, bright_rim=rim)
    return pipeline._chosen("head", subject, found, extractor, CLOCK)


def test_a_good_template_mask_is_not_reconsidered(first, learned):
    for extractor in ("auto", "template"):
        assert chosen(first, extractor) == (first[1], [])
    assert chosen(first, "template", FAT)[1] == []
    assert learned[1] == []


def test_a_bright_rim_asks_deepbet(first, learned):
    found, warnings = chosen(first, "auto", FAT)
    assert found.extractor_used == found.as_dict()["extractor_used"] == "deepbet"
    np.testing.assert_array_equal(found.placed.mask, learned[0][0])
    assert found.figures.mask_volume_ml < first[1].figures.mask_volume_ml
    assert found.placed.near.sum() == learned[0][0].sum()
    assert warnings == []


def test_a_failed_check_asks_deepbet(first, learned):
    subject, found = first
    failed = replace(found, figures=replace(found.figures, mask_volume_ml=2500.0))
    assert chosen((subject, failed), "auto")[0].extractor_used == "deepbet"


def test_deepbet_by_name_is_always_asked(first, learned):
    assert chosen(first, "deepbet")[0].extractor_used == "deepbet"


@pytest.mark.parametrize("extractor", ["auto", "deepbet"])
def test_an_unlikely_mask_leaves_the_templates(first, learned, extractor):
    learned[0][0] = np.zeros_like(learned[0][0])
    found, warnings = chosen(first, extractor, FAT)
    assert found.extractor_used == "template"
    assert found.placed is first[1].placed
    assert "deepbet's brain mask was not taken (0 ml, expected 800 to 2200)" in warnings[0]
    assert "2.0 % of the brain mask's outer 3 mm is as bright as fat" in warnings[1]
    assert "pip install" not in warnings[1]


def test_a_mask_that_holds_as_much_fat_leaves_the_templates(first, learned, monkeypatch):
    monkeypatch.setattr(pipeline, "bright_rim", lambda *_: FAT)
    found, warnings = chosen(first, "auto", FAT)
    assert found.extractor_used == "template"
    assert "2.0 % of its rim is as bright as fat" in warnings[0]


def test_without_deepbet_the_templates_mask_stays_and_fat_is_told(first, monkeypatch):
    monkeypatch.setattr(deepbet, "version", lambda: None)
    found, warnings = chosen(first, "auto", FAT)
    assert found.placed is first[1].placed
    assert found.extractor_used == "template"
    assert len(warnings) == 1
    assert "install deepbet (`pip install --no-deps deepbet`)" in warnings[0]
    subject, good = first
    failed = replace(good, figures=replace(good.figures, mask_volume_ml=2500.0))
    assert pipeline._chosen("head", subject, failed, "auto", CLOCK) == (failed, [])
