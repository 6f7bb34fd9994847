"""Sheets of slices: orientation, one scale on both sides, marks on what is synthetic."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mri2pet.report.choose import at_random, greatest, greatest_growth
from mri2pet.report.sheet import (
    Block,
    Panel,
    Sheet,
    draw_sheet,
    panel_picture,
    place_of_mm,
    slice_picture,
)

SHAPE = (16, 32, 32)


def constant(value: float, **options) -> Panel:
    return Panel(np.full(SHAPE, value, np.float32), (0.5,), 2.5, **options)


@pytest.mark.parametrize(("suvr", "level"), [(0.0, 0), (1.25, 128), (2.5, 255), (9.0, 255)])
def test_both_sides_have_the_same_grey_for_the_same_suvr(suvr, level):
    measured = panel_picture(constant(suvr), 2.0)
    drawn = panel_picture(constant(suvr, synthetic=True), 2.0)
    assert (measured == level).all()
    free_of_the_word = drawn[20:]
    assert (free_of_the_word == level).all()


def test_the_word_stands_over_what_is_synthetic_alone():
    def marked(panel: Panel) -> bool:
        picture = panel_picture(panel, 1.3).astype(int)
        return bool((np.ptp(picture, axis=2) > 50).any())

    assert marked(constant(1.0, synthetic=True))
    assert not marked(constant(1.0))


def test_left_is_left_and_anterior_is_above():
    kij = np.zeros(SHAPE, np.float32)
    kij[8, 8, 24] = 1.0  # I from left to right, J from posterior to anterior
    picture = slice_picture(Panel(kij, (0.5,), 1.0), 0.5, 1.0)[..., 0]
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert row < picture.shape[0] / 2
    assert column < picture.shape[1] / 2


@pytest.mark.parametrize("slices", [16, 32, 33])
def test_a_place_is_the_slice_of_its_floor(slices):
    kij = np.arange(slices, dtype=np.float32)[:, None, None] * np.ones((1, 32, 32), np.float32)
    for place in (0.0, 10 / 32, 13 / 32, 1.0):
        picture = slice_picture(Panel(kij, (place,), slices), place, 4.0)
        found = picture[5, 5, 0] / 255 * slices
        assert found == pytest.approx(min(int(slices * place), slices - 1), abs=0.1)


def test_the_place_of_a_height():
    assert place_of_mm(-76.0) == 0
    assert place_of_mm(84.0) == 1


def test_a_sheet_is_a_whole_png_with_room_for_long_words(tmp_path):
    panels = [constant(1.0), constant(1.0, synthetic=True, text="change of this and that " * 4)]
    block = Block(["measured", "synthetic PET of a model with a long name"], [("sub-01", panels)])
    draw_sheet(tmp_path / "sheet.png", Sheet([block, block], 2.0, ["A note, ρ ≥ 0. " * 30]))
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L")).astype(int)
    border = np.concatenate([pixels[:5].ravel(), pixels[-5:].ravel(), pixels[:, -5:].ravel()])
    assert (border == 255).all(), "something is cut at the border"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_people_at_random_depend_on_names_and_seed_alone():
    names = [f"sub-{n:02d}" for n in range(30)]
    chosen = at_random(names, 5, 0)
    assert chosen == at_random(list(reversed(names)), 5, 0)
    assert chosen != at_random(names, 5, 1)
    assert len(set(at_random(names + names, 5, 0))) == 5
    assert at_random(names[:3], 5, 0) == names[:3]


def test_the_greatest_come_first_and_equal_ones_by_name():
    assert greatest({"b": 1.0, "a": 1.0, "c": 3.0, "d": 0.0}, 3) == ["c", "a", "b"]


def test_the_greatest_growth_is_between_scans_far_enough_apart():
    days = {"a": 0.0, "b": 400.0, "c": 900.0, "d": 1000.0}
    measure = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.5}
    assert greatest_growth(days, measure, 548.0) == ("a", "c")
    assert greatest_growth(days, measure, 2000.0) is None
