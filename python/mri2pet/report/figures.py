"""The figures of a page: which cuts, which pictures, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mri2pet.imaging.space.template import template_mask, template_wm
from mri2pet.imaging.space.volume import Volume
from mri2pet.report.pictures import (
    SPREAD,
    SUVR,
    blend,
    grey,
    jpeg_uri,
    lettered,
    mosaic,
    outline,
)
from mri2pet.report.planes import NORMAL_AXIS, PLANES, Box, cut, sample_box

CUT_POINT_MNI_MM = (-6.0, -24.0, 14.0)
MASK_COLOUR = (255, 92, 92)
TEMPLATE_COLOUR = (64, 220, 255)
WHITE_MATTER_COLOUR = (255, 140, 0)
SCALES = {"pet": SUVR, "fusion": SUVR, "spread": SPREAD}  # by what a picture shows
MONTAGE_SLICES = 12
VIEWER_MM = 1.5


@dataclass(frozen=True)
class Picture:
    """One picture of a page: a data URI and the text that says what it shows."""

    uri: str
    text: str


@dataclass(frozen=True)
class Scan:
    """One subject's volumes on one grid; `spread` is None for a single sample."""

    t1: Volume
    pet: Volume
    spread: Volume | None
    mask: Volume
    template_from_subject: np.ndarray

    @cached_property
    def grey_top(self) -> float:
        """The T1 value shown as white."""
        return float(np.percentile(self.t1.data[self.mask.data > 0], 99.5)) * 1.05

    def cut_point_mm(self) -> np.ndarray:
        """Where the planes meet: a fixed template point in the subject's RAS mm."""
        return (np.linalg.inv(self.template_from_subject) @ [*CUT_POINT_MNI_MM, 1.0])[:3]


def plane_pictures(scan: Scan) -> dict[str, dict[str, Picture]]:
    """`{plane: {"t1", "pet", "fusion", "spread"}}` through the cut point, subject space."""
    box, point, top = Box.around(scan.mask), scan.cut_point_mm(), scan.grey_top
    pictures: dict[str, dict[str, Picture]] = {}
    for plane in PLANES:
        position = float(point[NORMAL_AXIS[plane]])
        anatomy = grey(cut(scan.t1, plane, position, box), top)
        suvr = cut(scan.pet, plane, position, box)
        row = {
            "t1": (anatomy, "T1-weighted MRI"),
            "pet": (SUVR.colours(suvr), "synthetic PET"),
            "fusion": (blend(anatomy, SUVR.colours(suvr), 0.75 * suvr), "synthetic PET over T1"),
        }
        if scan.spread is not None:
            spread = SPREAD.colours(cut(scan.spread, plane, position, box))
            inside = cut(scan.mask, plane, position, box)
            row["spread"] = (blend(spread * 0, spread, inside), "spread of the samples")
        pictures[plane] = {
            name: Picture(jpeg_uri(lettered(picture, plane)), f"{text}, {plane} plane")
            for name, (picture, text) in row.items()
        }
    return pictures


def montage(scan: Scan) -> list[Picture]:
    """Axial slices of the PET from inferior to superior, subject space."""
    box = Box.around(scan.mask, margin_mm=4.0)
    low, high = box.low[2], box.high[2]
    positions = low + (high - low) * np.linspace(0.14, 0.92, MONTAGE_SLICES)
    pictures = []
    for position in positions:
        suvr = cut(scan.pet, "axial", float(position), box, pixel_mm=0.75)
        picture = jpeg_uri(lettered(SUVR.colours(suvr), "axial"))
        pictures.append(Picture(picture, f"synthetic PET, axial, z = {position:.0f} mm"))
    return pictures


def mask_pictures(scan: Scan) -> dict[str, Picture]:
    """The outline of the brain mask on the T1 in three planes, subject space."""
    box, point, top = Box.around(scan.mask, margin_mm=22.0), scan.cut_point_mm(), scan.grey_top
    pictures = {}
    for plane in PLANES:
        position = float(point[NORMAL_AXIS[plane]])
        anatomy = grey(cut(scan.t1, plane, position, box), top)
        inside = cut(scan.mask, plane, position, box)
        drawn = lettered(outline(anatomy, inside, MASK_COLOUR), plane)
        pictures[plane] = Picture(jpeg_uri(drawn), f"brain mask on the T1, {plane} plane")
    return pictures


def registration_pictures(scan: Scan) -> dict[str, Picture]:
    """The registered T1 with the template's brain and white-matter outlines, template space."""
    from scipy.ndimage import gaussian_filter

    brain, white_matter = template_mask(2), template_wm(2)
    box = Box.around(brain, margin_mm=10.0)
    subject_from_template = np.linalg.inv(scan.template_from_subject)
    pictures = {}
    for plane in PLANES:
        position = CUT_POINT_MNI_MM[NORMAL_AXIS[plane]]
        registered = cut(scan.t1, plane, position, box, volume_from_display=subject_from_template)
        picture = grey(registered, scan.grey_top)
        smooth = gaussian_filter(cut(white_matter, plane, position, box), 2.0)
        picture = outline(picture, smooth, WHITE_MATTER_COLOUR, 1.5)
        picture = outline(picture, cut(brain, plane, position, box), TEMPLATE_COLOUR)
        drawn = lettered(picture, plane)
        pictures[plane] = Picture(jpeg_uri(drawn), f"template outlines, {plane} plane")
    return pictures


def viewer_data(scan: Scan) -> dict[str, Any]:
    """What the page's slice browser needs: mosaics of the volumes, their grid and scales."""
    box = Box.around(scan.mask)
    t1 = sample_box(scan.t1, box, VIEWER_MM)
    tiles, columns = mosaic(t1, 0.0, scan.grey_top)
    point = np.rint((scan.cut_point_mm() - box.low) / VIEWER_MM).astype(int)
    data: dict[str, Any] = {
        "shape": list(t1.shape),
        "columns": columns,
        "spacing_mm": VIEWER_MM,
        "start": np.clip(point, 0, np.array(t1.shape) - 1).tolist(),
        "t1": jpeg_uri(tiles, quality=80),
        "layers": {},
    }
    for name, volume in {"pet": scan.pet, "spread": scan.spread}.items():
        if volume is None:
            continue
        scale = SCALES[name]
        tiles, _ = mosaic(sample_box(volume, box, VIEWER_MM), scale.low, scale.high)
        table = scale.colours(np.linspace(scale.low, scale.high, 256)[None])[0]
        data["layers"][name] = {
            "image": jpeg_uri(tiles, quality=90),
            "high": scale.high,
            "colours": np.rint(table).astype(int).ravel().tolist(),
        }
    return data
