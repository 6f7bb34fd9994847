"""Grey and colour pictures with contours and letters, as data URIs for a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

SUPERSAMPLING = 4
LETTERS = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("P", "A")}


@dataclass(frozen=True)
class ColourScale:
    """A colour map over a fixed range, so that pages of several subjects can be compared."""

    name: str
    low: float
    high: float
    unit: str

    def colours(self, values: np.ndarray) -> np.ndarray:
        """[rows, columns] → RGB float32 [rows, columns, 3] in 0 … 255."""
        import matplotlib

        position = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return matplotlib.colormaps[self.name](position)[..., :3].astype(np.float32) * 255.0

    def gradient(self, stops: int = 16) -> str:
        """The scale as a CSS gradient, low to high."""
        row = self.colours(np.linspace(self.low, self.high, stops)[None])[0]
        return ", ".join("#" + bytes(np.rint(c).astype(np.uint8)).hex() for c in row)


SUVR = ColourScale("inferno", 0.0, 2.5, "SUVR")
SPREAD = ColourScale("viridis", 0.0, 0.5, "SUVR")


def grey(values: np.ndarray, top: float) -> np.ndarray:
    """[rows, columns], 0 … `top` → RGB float32 [rows, columns, 3] in 0 … 255."""
    level = np.clip(values / top if top > 0 else values * 0, 0.0, 1.0) * 255.0
    return np.repeat(level[..., None], 3, axis=2).astype(np.float32)


def blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Two RGB pictures; `opacity` of the upper one in 0 … 1, [rows, columns]."""
    weight = np.clip(opacity, 0.0, 1.0)[..., None]
    return below * (1 - weight) + above * weight


def outline(
    picture: np.ndarray, field: np.ndarray, colour: tuple[int, int, int], width_px: float = 2.0
) -> np.ndarray:
    """Draw the line where `field` crosses 0.5 on an RGB picture of the same size."""
    from contourpy import contour_generator
    from PIL import Image, ImageDraw

    rows, columns = field.shape
    factor = SUPERSAMPLING
    layer = Image.new("L", (columns * factor, rows * factor))
    draw = ImageDraw.Draw(layer)
    for line in contour_generator(z=field).lines(0.5):
        points = [tuple(p) for p in (np.asarray(line) + 0.5) * factor]
        draw.line(points, fill=255, width=round(width_px * factor), joint="curve")
    opacity = np.asarray(layer.resize((columns, rows), Image.Resampling.BOX)) / 255.0
    return blend(picture, np.broadcast_to(np.asarray(colour, np.float32), picture.shape), opacity)


def lettered(picture: np.ndarray, plane: str) -> np.ndarray:
    """Write the directions at the left and right edge: L and R, or P and A."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(np.rint(np.clip(picture, 0, 255)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(11, min(image.size) // 18))
    inset, middle = 6, image.height // 2
    for text, x, anchor in zip(
        LETTERS[plane], (inset, image.width - inset), ("lm", "rm"), strict=True
    ):
        draw.text((x, middle), text, "white", font, anchor, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def jpeg_uri(picture: np.ndarray, quality: int = 88) -> str:
    """A grey [rows, columns] or RGB picture as a `data:` URI."""
    from PIL import Image

    image = Image.fromarray(np.rint(np.clip(picture, 0, 255)).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def mosaic(volume: np.ndarray, low: float, high: float) -> tuple[np.ndarray, int]:
    """Axial slices of [X, Y, Z] in one grey picture, row by row from inferior, and its columns.

    Each tile has Y rows (anterior at the top) and X columns.
    """
    x, y, z = volume.shape
    columns = int(np.ceil(np.sqrt(z)))
    rows = -(-z // columns)
    level = np.clip((volume - low) / (high - low), 0.0, 1.0) * 255.0
    padded = np.zeros((x, y, rows * columns), dtype=np.float32)
    padded[..., :z] = level
    tiles = padded.transpose(2, 1, 0)[:, ::-1].reshape(rows, columns, y, x)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * y, columns * x), columns
