"""Axial slices of many volumes on one sheet, all on one fixed scale: the figures of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.files import written_whole
from mri2pet.imaging.space.grid import MODEL_BOX_MM
from mri2pet.report.pictures import grey

HIGH_SUVR = 2.5
SLICE_MM = 22.0  # z of the template where one slice has to do: the bodies of the ventricles
HALF_WIDTH_MM = 80.0  # of what is shown to the left and to the right of the middle
SYNTHETIC = "SYNTHETIC"
INK, PAPER, MARK = (25, 25, 25), (255, 255, 255), (255, 170, 60)
_GAP, _MARGIN, _FONT = 6, 14, 13


def place_of_mm(z_mm: float) -> float:
    """Where an axial slice lies in the model's box: 0 inferior, 1 superior."""
    low, high = MODEL_BOX_MM[2]
    return (z_mm - low) / (high - low)


@dataclass(frozen=True)
class Panel:
    """Axial slices of one volume, side by side.

    Attributes:
        kij: `[K, I, J]` on a model grid.
        places: of the slices, 0 to 1 of the axis; slice ⌊K · place⌋ is shown.
        high: the value shown as white; black is `low`.
        synthetic: says so in the picture.
        text: below it.
    """

    kij: np.ndarray
    places: tuple[float, ...]
    high: float
    low: float = 0.0
    synthetic: bool = False
    text: str = ""


@dataclass(frozen=True)
class Block:
    """Lines of panels below each other: (name, panels), with a title above each column."""

    titles: Sequence[str]
    lines: Sequence[tuple[str, Sequence[Panel]]]


@dataclass(frozen=True)
class Sheet:
    """A picture.

    Attributes:
        pixel_mm: size of a pixel.
        notes: sentences below.
        scale: a bar from 0 to 2.5 SUVR below, for sheets whose PETs all have this scale.
    """

    blocks: Sequence[Block]
    pixel_mm: float
    notes: Sequence[str] = field(default_factory=tuple)
    scale: bool = True


def slice_picture(panel: Panel, place: float, pixel_mm: float) -> np.ndarray:
    """One axial slice as RGB uint8 [rows, columns, 3]: anterior above, left on the left."""
    from PIL import Image

    (x0, x1), (y0, y1), _ = MODEL_BOX_MM
    k = min(int(panel.kij.shape[0] * place), panel.kij.shape[0] - 1)
    values = np.asarray(panel.kij[k], dtype=np.float32).T[::-1]
    size = (round((x1 - x0) / pixel_mm), round((y1 - y0) / pixel_mm))
    large = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    middle, half = round(-x0 / pixel_mm), round(HALF_WIDTH_MM / pixel_mm)
    shown = large[:, max(middle - half, 0) : middle + half]
    picture = grey(shown - panel.low, panel.high - panel.low)
    return np.rint(picture).astype(np.uint8)


def panel_picture(panel: Panel, pixel_mm: float) -> np.ndarray:
    """All slices of a panel side by side, RGB uint8 [rows, columns, 3]."""
    from PIL import Image, ImageDraw

    slices = [slice_picture(panel, place, pixel_mm) for place in panel.places]
    picture = Image.fromarray(np.concatenate(slices, axis=1))
    if panel.synthetic:
        ImageDraw.Draw(picture).text((3, 1), SYNTHETIC, MARK, _font(_FONT - 2))
    return np.asarray(picture)


def draw_sheet(path: Path, sheet: Sheet) -> None:
    """Writes a PNG: neurological display, grey, row names on the left, a scale below."""
    from PIL import Image

    parts = [_block(block, sheet.pixel_mm) for block in sheet.blocks]
    width = max([*(part.width for part in parts), 560]) + 2 * _MARGIN
    parts.append(_foot(sheet, width - 2 * _MARGIN))
    height = sum(part.height + 2 * _GAP for part in parts) + 2 * _MARGIN
    picture, top = Image.new("RGB", (width, height), PAPER), _MARGIN
    for part in parts:
        picture.paste(part, (_MARGIN, top))
        top += part.height + 2 * _GAP
    with written_whole(path) as temporary:
        picture.save(temporary, format="png", optimize=True)


def _block(block: Block, pixel_mm: float) -> Any:
    from PIL import Image, ImageDraw

    font = _font(_FONT)
    pictures = [[panel_picture(p, pixel_mm) for p in panels] for _, panels in block.lines]
    widths = [max(picture.shape[1] for picture in column) for column in zip(*pictures, strict=True)]
    left = max((_size(name, font)[0] for name, _ in block.lines), default=0) + 2 * _GAP
    starts = [left + sum(widths[:n]) + _GAP * n for n in range(len(widths))]
    titles = [_wrapped(t, w, font) for t, w in zip(block.titles, widths, strict=True)]
    head = max((_text_height(title, font) for title in titles), default=0)
    lines = [
        _line(name, panels, line, starts, widths)
        for (name, panels), line in zip(block.lines, pictures, strict=True)
    ]
    size = (starts[-1] + widths[-1], head + sum(line.height + _GAP for line in lines))
    image = Image.new("RGB", size, PAPER)
    for title, x, width in zip(titles, starts, widths, strict=True):
        place = (x + width // 2, 0)
        ImageDraw.Draw(image).multiline_text(place, title, INK, font, "ma", align="center")
    y = head
    for line in lines:
        image.paste(line, (0, y))
        y += line.height + _GAP
    return image


def _line(
    name: str,
    panels: Sequence[Panel],
    pictures: Sequence[np.ndarray],
    starts: Sequence[int],
    widths: Sequence[int],
) -> Any:
    """A name and its panels with the texts below them."""
    from PIL import Image, ImageDraw

    font = _font(_FONT)
    texts = [_wrapped(panel.text, width, font) for panel, width in zip(panels, widths, strict=True)]
    height = pictures[0].shape[0]
    below = max(_text_height(text, font) for text in texts)
    image = Image.new("RGB", (starts[-1] + widths[-1], height + below), PAPER)
    draw = ImageDraw.Draw(image)
    draw.multiline_text((0, height // 2), name, INK, font, "lm")
    for x, width, picture, text in zip(starts, widths, pictures, texts, strict=True):
        image.paste(Image.fromarray(picture), (x, 0))
        place = (x + width // 2, height + 2)
        draw.multiline_text(place, text, INK, font, "ma", align="center")
    _sides(draw, starts[0], height, pictures[0].shape[1] // len(panels[0].places))
    return image


def _sides(draw: Any, x: int, height: int, width: int) -> None:
    """L and R in the lower corners of a slice."""
    font = _font(_FONT - 2)
    draw.text((x + 3, height - 3), "L", PAPER, font, "ls")
    draw.text((x + width - 3, height - 3), "R", PAPER, font, "rs")


def _foot(sheet: Sheet, width: int) -> Any:
    """The scales and the notes."""
    from PIL import Image, ImageDraw

    font = _font(_FONT)
    notes = "\n".join(_wrapped(note, width, font) for note in sheet.notes)
    scales = 44
    image = Image.new("RGB", (width, scales + _text_height(notes, font) + 2 * _GAP), PAPER)
    draw = ImageDraw.Draw(image)
    length = round(50 / sheet.pixel_mm)
    draw.line((0, 8, length, 8), INK, 3)
    draw.text((0, 16), "5 cm", INK, font)
    if sheet.scale:
        start, wide = length + 60, 250
        for step in range(wide):
            level = round(255 * step / (wide - 1))
            draw.line((start + step, 2, start + step, 14), (level, level, level))
        draw.rectangle((start - 1, 1, start + wide, 15), outline=INK)
        for tick in range(6):
            at = start + round(tick / 5 * (wide - 1))
            text = f"{tick / 5 * HIGH_SUVR:g}" + (" SUVR" if tick == 5 else "")
            draw.text((at - 4, 18), text, INK, font)
    draw.multiline_text((0, scales), notes, INK, font)
    return image


@cache
def _font(size: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # knows Greek
    return ImageFont.truetype(file, size)


def _size(text: str, font: Any) -> tuple[int, int]:
    from PIL import Image, ImageDraw

    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font)
    return int(box[2]), int(box[3])


def _text_height(text: str, font: Any) -> int:
    return _size(text, font)[1] + 6 if text else 0


def _wrapped(text: str, width: int, font: Any) -> str:
    """The text with line breaks between words, so that it fits."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _size(longer, font)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
