"""Colours, outlines, letters and the slice browser's mosaics."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mri2pet.report.pictures import (
    SUVR,
    ColourScale,
    blend,
    grey,
    jpeg_uri,
    lettered,
    mosaic,
    outline,
)


def test_the_suvr_scale_is_fixed() -> None:
    assert (SUVR.low, SUVR.high) == (0.0, 2.5)
    colours = SUVR.colours(np.array([[-1.0, 0.0, 2.5, 9.0]]))[0]
    np.testing.assert_array_equal(colours[0], colours[1])
    np.testing.assert_array_equal(colours[2], colours[3])
    assert colours[2].sum() > colours[0].sum() + 300


def test_gradient_runs_from_low_to_high() -> None:
    stops = ColourScale("gray", 0.0, 1.0, "1").gradient(3).split(", ")
    assert [stops[0], stops[-1]] == ["#000000", "#ffffff"]
    assert len(stops) == 3


def test_grey_and_blend() -> None:
    picture = grey(np.array([[0.0, 5.0, 20.0]]), top=10.0)
    np.testing.assert_allclose(picture[0, :, 0], [0, 127.5, 255])
    assert not grey(np.ones((2, 2)), top=0.0).any()
    mixed = blend(picture, np.full_like(picture, 100.0), np.array([[0.0, 1.0, 2.0]]))
    np.testing.assert_allclose(mixed[0, :, 0], [0, 100, 100])


def test_outline_follows_the_edge() -> None:
    field = np.zeros((40, 60), np.float32)
    field[10:30, 15:45] = 1.0
    drawn = outline(np.zeros((40, 60, 3), np.float32), field, (200, 0, 0))
    red = drawn[..., 0]
    assert red[20, 14:16].max() > 150
    assert red[9:11, 30].max() > 150
    assert red[20, 30] == 0
    assert red[2, 2] == 0
    assert not drawn[..., 1:].any()


def test_letters_stand_at_both_edges() -> None:
    written = lettered(np.zeros((200, 160, 3), np.float32), "axial")
    bright = written[..., 0] > 128
    assert bright[80:120, :20].any()
    assert bright[80:120, -20:].any()
    assert not bright[:, 40:120].any()


def test_jpeg_keeps_the_picture() -> None:
    picture = np.tile(np.linspace(0, 255, 64)[None, :, None], (48, 1, 3))
    kind, data = jpeg_uri(picture).split(",", 1)
    assert kind == "data:image/jpeg;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.abs(decoded - picture).max() < 8


def test_mosaic_is_what_the_browser_unpacks() -> None:
    shape = nx, ny, nz = (5, 4, 7)
    volume = np.random.default_rng(0).uniform(0, 2.5, shape).astype(np.float32)
    sheet, columns = mosaic(volume, 0.0, 2.5)
    assert sheet.shape == (-(-nz // columns) * ny, columns * nx)
    for x, y, z in np.ndindex(shape):
        left, top = (z % columns) * nx, (z // columns) * ny
        value = sheet[top + ny - 1 - y, left + x] / 255 * 2.5
        np.testing.assert_allclose(value, volume[x, y, z], rtol=1e-5)
