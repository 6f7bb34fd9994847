"""One page of paper on a result: what an archive of images can keep beside the PET."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet import WARNING
from mri2pet.imaging.space.volume import Volume
from mri2pet.report.figures import SCALES, Scan
from mri2pet.report.interval import interval_text
from mri2pet.report.pictures import SUVR, grey, lettered
from mri2pet.report.planes import NORMAL_AXIS, PLANES, Box, cut

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADLINE = "SYNTHETIC – NOT ACQUIRED – RESEARCH"
A4_INCHES = (8.27, 11.69)
PIXEL_MM = 1.0
DOUBTS_SHOWN = 8
_LEFT, _TEXT, _SMALL = 0.07, 8.0, 7.0


def paper_page(
    t1: Volume, pet: np.ndarray, sidecar: Mapping[str, Any], doubts: tuple[str, ...] = ()
) -> Figure:
    """The page. It names nobody, and of the head it shows the brain alone.

    Args:
        t1: the image that was read, [X, Y, Z].
        pet: [X, Y, Z] in SUVR on its grid, 0 outside the brain.
        sidecar: numbers and provenance, see `mri2pet.synthesis.sidecar`.
        doubts: about the source, beside the sidecar's warnings.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        page = Figure(figsize=A4_INCHES)
        page.text(0.5, 0.955, HEADLINE, ha="center", size=19, weight="bold", color="#a00000")
        page.text(0.5, 0.932, WARNING, ha="center", size=_TEXT)
        _add_planes(page, _scan(t1, pet, sidecar))
        _add_numbers(page, sidecar["measurements"])
        _add_lines(page, [*dict.fromkeys([*sidecar["warnings"], *doubts])])
        _add_provenance(page, sidecar)
        page.text(0.5, 0.02, f"{HEADLINE} · {WARNING}", ha="center", size=6.5)
    return page


def as_pdf(page: Figure) -> bytes:
    """The page as PDF, without the time it was made: the same page gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    about = {"Title": HEADLINE, "Creator": "mri2pet", "Producer": None, "CreationDate": None}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        with PdfPages(stream, metadata=about) as pages:
            pages.savefig(page)
    return stream.getvalue()


def as_picture(page: Figure, dots_per_inch: int = 100) -> np.ndarray:
    """The page as a picture: uint8 [rows, columns, 3]."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        page.set_dpi(dots_per_inch)
        canvas = FigureCanvasAgg(page)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _scan(t1: Volume, pet: np.ndarray, sidecar: Mapping[str, Any]) -> Scan:
    """The volumes with the T1 cut at the brain's edge, so that no face is seen."""
    inside = np.asarray(pet > 0, dtype=np.float32)
    return Scan(
        t1=Volume(t1.data * inside, t1.affine),
        pet=Volume(np.asarray(pet, dtype=np.float32), t1.affine, "SUVR"),
        spread=None,
        mask=Volume(inside, t1.affine),
        template_from_subject=np.asarray(sidecar["space"]["template_from_subject"]),
    )


def _add_planes(page: Figure, scan: Scan) -> None:
    box, point = Box.around(scan.mask), scan.cut_point_mm()
    for column, plane in enumerate(PLANES):
        position = float(point[NORMAL_AXIS[plane]])
        anatomy = grey(cut(scan.t1, plane, position, box, pixel_mm=PIXEL_MM), scan.grey_top)
        suvr = SUVR.colours(cut(scan.pet, plane, position, box, pixel_mm=PIXEL_MM))
        for row, picture in enumerate((anatomy, suvr)):
            axes = page.add_axes((_LEFT + 0.29 * column, 0.72 - 0.2 * row, 0.28, 0.19))
            axes.imshow(lettered(picture, plane), interpolation="nearest")
            axes.set_axis_off()
    page.text(_LEFT, 0.915, "T1-weighted MRI (brain)", size=_SMALL)
    page.text(_LEFT, 0.712, "Synthetic PET", size=_SMALL)
    scale = page.add_axes((0.35, 0.503, 0.3, 0.008))
    scale.imshow(SUVR.colours(np.linspace(SUVR.low, SUVR.high, 128)[None]) / 255, aspect="auto")
    scale.set_axis_off()
    shown = SCALES["pet"]
    page.text(0.34, 0.503, f"{shown.low:g}", size=_SMALL, ha="right")
    page.text(0.66, 0.503, f"{shown.high:g} {shown.unit}; L: left of the subject", size=_SMALL)


def _add_numbers(page: Figure, measurements: Mapping[str, Any]) -> None:
    cortical, regions = measurements["cortical_suvr"], measurements["regional_suvr"]
    cerebellum = measurements["cerebellum_suvr"]["mean"]
    rows = [("cortical composite", cortical), *regions.items()]
    note = measurements["uncertainty"]
    page.text(_LEFT, 0.475, "SUVR of the prediction, not a measurement", size=10, weight="bold")
    page.text(_LEFT, 0.458, "\n".join(textwrap.wrap(note, 120)[:2]), size=_SMALL, va="top")
    half = -(-len(rows) // 2)
    for place, (name, of) in enumerate(rows):
        column, line = divmod(place, half)
        left, height = _LEFT + 0.44 * column, 0.425 - 0.013 * line
        spread = "" if of["sd_of_samples"] is None else f"SD of samples {of['sd_of_samples']:.3f}"
        page.text(left, height, name.replace("_", " "), size=_SMALL)
        page.text(left + 0.2, height, f"{of['mean']:.3f}", size=_SMALL)
        page.text(left + 0.26, height, interval_text(of) or spread, size=_SMALL)
    low = 0.425 - 0.013 * half
    text = f"cerebellum {cerebellum:.3f} SUVR (expected near 1)"
    page.text(_LEFT, low, text, size=_SMALL)


def _add_lines(page: Figure, doubts: list[str]) -> None:
    if not doubts:
        return
    lines = [f"• {line}" for text in doubts[:DOUBTS_SHOWN] for line in [_short(text)]]
    if len(doubts) > DOUBTS_SHOWN:
        lines.append(f"and {len(doubts) - DOUBTS_SHOWN} more")
    page.text(_LEFT, 0.3, "Please note", size=10, weight="bold")
    page.text(_LEFT, 0.29, "\n".join(lines), size=_SMALL, va="top")


def _short(text: str) -> str:
    return "\n   ".join(textwrap.wrap(text, 125)[:2])


def _add_provenance(page: Figure, sidecar: Mapping[str, Any]) -> None:
    settings, model = sidecar["settings"], sidecar["model"]
    lines = [
        f"Model {model['name']}, SHA-256 {model['sha256']}",
        f"{settings['sampler']}, {settings['steps']} steps, {settings['samples']} samples, "
        f"seed {settings['seed']}; 1 SUVR is the mean of: {sidecar['ReferenceRegion']}",
        f"T1: SHA-256 of values and affine {sidecar['input']['sha256']}",
        f"Registration: {_checks(sidecar['checks'])}",
        f"mri2pet {sidecar['versions']['mri2pet']}",
    ]
    page.text(_LEFT, 0.135, "Provenance", size=10, weight="bold")
    page.text(_LEFT, 0.127, "\n".join(lines), size=_SMALL, va="top")


def _checks(checks: Mapping[str, Any]) -> str:
    shown = {
        "correlation_with_template": "correlation {:.2f}",
        "dice_with_template": "Dice with the template {:.2f}",
        "mask_volume_ml": "brain mask {:.0f} ml",
    }
    parts = [words.format(checks[key]) for key, words in shown.items() if checks.get(key)]
    return ", ".join(parts) or "no figures"
