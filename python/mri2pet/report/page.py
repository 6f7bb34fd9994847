"""The page itself: one HTML file that opens offline and loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from mri2pet.report.interval import uncertainty_section
from mri2pet.report.regions import regions_section
from mri2pet.report.tables import cards, notes, tables

if TYPE_CHECKING:
    import numpy as np

    from mri2pet.imaging.space.volume import Volume
    from mri2pet.report.figures import Picture, Scan
    from mri2pet.report.pictures import ColourScale

COLUMN_NAMES = {
    "t1": "T1-weighted MRI",
    "pet": "Synthetic PET",
    "fusion": "Synthetic PET over T1",
    "spread": "Spread of the samples, not an error bar",
}


@dataclass(frozen=True)
class ReportInput:
    """What a page shows.

    Attributes:
        title: name of the subject.
        t1: the input image, [X, Y, Z].
        brain_mask: bool [X, Y, Z].
        pet, std: [X, Y, Z] in SUVR; `std` is None for a single sample.
        template_from_subject: 4 x 4, subject RAS mm → template RAS mm.
        sidecar: numbers and provenance, see `mri2pet.synthesis.sidecar`.
        threshold: name and cortical SUVR of an amyloid threshold to draw.
    """

    title: str
    t1: Volume
    brain_mask: np.ndarray
    pet: np.ndarray
    std: np.ndarray | None
    template_from_subject: np.ndarray
    sidecar: Mapping[str, Any]
    threshold: tuple[str, float] | None = None


def make_report(content: ReportInput) -> str:
    """The HTML page of one subject. Images, styles and scripts are inside it."""
    scan, sidecar = _scan(content), content.sidecar
    settings, model = sidecar["settings"], sidecar["model"]
    count = settings["samples"]
    subtitle = (
        f"{count} sample{'s' if count > 1 else ''} of model “{model['name']}” · "
        f"{settings['sampler']}, {settings['steps']} steps, seed {settings['seed']} · "
        f"{sidecar['created'].replace('T', ' ').replace('+00:00', ' UTC')}"
    )
    viewer, script = _viewer(scan)
    body = [
        cards(sidecar),
        uncertainty_section(sidecar["measurements"], content.threshold),
        regions_section(sidecar.get("quantification")),
        _planes(scan),
        viewer,
        _montage(scan),
        _checks(scan),
        tables(sidecar),
    ]
    return Template(_asset("page.html")).substitute(
        title=escape(content.title),
        style=_asset("page.css"),
        subtitle=escape(subtitle),
        warning=escape(sidecar["warning"]),
        notes=notes(sidecar["warnings"]),
        body="\n".join(body),
        footer=escape(f"mri2pet {sidecar['versions']['mri2pet']} · {sidecar['warning']}"),
        script=script,
    )


def _scan(content: ReportInput) -> Scan:
    import numpy as np

    from mri2pet.imaging.space.volume import Volume
    from mri2pet.report.figures import Scan

    def beside(data: np.ndarray, unit: str) -> Volume:
        return Volume(data, content.t1.affine, unit)

    return Scan(
        t1=content.t1,
        pet=beside(content.pet, "SUVR"),
        spread=None if content.std is None else beside(content.std, "SUVR"),
        mask=beside(content.brain_mask.astype(np.float32), "1"),
        template_from_subject=content.template_from_subject,
    )


def _planes(scan: Scan) -> str:
    from mri2pet.report.figures import SCALES, plane_pictures

    planes = ""
    for plane, row in plane_pictures(scan).items():
        figures = "".join(
            _figure(picture, COLUMN_NAMES[name], _scale(SCALES.get(name)))
            for name, picture in row.items()
        )
        planes += (
            f"<h3>{plane.capitalize()}</h3>"
            f'<div class="grid planes" style="--columns:{len(row)}">{figures}</div>'
        )
    return _section(
        "Three planes",
        "The subject's own space. Neurological display: the left of an axial or coronal picture "
        "is the subject's left (L). The colour scales are the same on every page.",
        planes,
    )


def _montage(scan: Scan) -> str:
    from mri2pet.report.figures import SCALES, montage

    figures = "".join(
        _figure(p, escape(p.text.rsplit(", ", 1)[-1]), _scale(SCALES["pet"])) for p in montage(scan)
    )
    return _section(
        "Synthetic PET, axial slices",
        "From inferior to superior, 0 to 2.5 SUVR; z in scanner coordinates.",
        f'<div class="grid montage">{figures}</div>',
    )


def _checks(scan: Scan) -> str:
    from mri2pet.report.figures import (
        MASK_COLOUR,
        TEMPLATE_COLOUR,
        WHITE_MATTER_COLOUR,
        mask_pictures,
        registration_pictures,
    )

    brain, white_matter = _key(TEMPLATE_COLOUR), _key(WHITE_MATTER_COLOUR)
    outlines = f"{brain}brain, {white_matter}white matter"
    registration = _trio(registration_pictures(scan), outlines)
    mask = _trio(mask_pictures(scan), f"{_key(MASK_COLOUR)}brain mask")
    return _section(
        "Registration and brain mask",
        "A result is only as good as these two. Where an outline leaves the anatomy, "
        "do not use the PET; run it again with a brain mask of your own.",
        f"<h3>The template's outlines over the registered T1 (template space)</h3>{registration}"
        f"<h3>The brain mask over the T1 (subject's space)</h3>{mask}",
    )


def _viewer(scan: Scan) -> tuple[str, str]:
    """The slice browser: its section and its script."""
    from mri2pet.report.figures import SCALES, viewer_data
    from mri2pet.report.pictures import LETTERS
    from mri2pet.report.planes import NORMAL_AXIS, PLANES

    data = viewer_data(scan)
    layers = "".join(
        f'<label><input type="radio" name="layer" value="{name}"'
        f"{' checked' if name == 'pet' else ''}> {COLUMN_NAMES[name]}</label>"
        for name in data["layers"]
    )
    scales = "".join(
        f'<div data-layer="{name}">{_scale(SCALES[name])}</div>' for name in data["layers"]
    )
    x, y, _ = data["shape"]
    views = "".join(
        f'<figure><div class="view"><canvas id="view-{plane}" aria-label="{plane} view"></canvas>'
        f"<span>{LETTERS[plane][0]}</span><span>{LETTERS[plane][1]}</span></div>"
        f"<figcaption><label>{plane.capitalize()}, slice "
        f'<input type="range" id="slice-{plane}" min="0" '
        f'max="{data["shape"][NORMAL_AXIS[plane]] - 1}"></label></figcaption>{scales}</figure>'
        for plane in PLANES
    )
    section = _section(
        "Browse",
        "Click, tap or drag with the mouse to move the cross. Reduced to 1.5 mm and "
        "8 bits: read values from the NIfTI file.",
        f'<div class="controls">{layers}'
        '<label>opacity <input type="range" id="opacity" min="0" max="100" value="70"></label>'
        '<output id="reading"></output></div>'
        f'<div class="grid views" style="--columns:{x}fr {x}fr {y}fr">{views}</div>',
        css_class="browser",
    )
    volumes = json.dumps(data, separators=(",", ":"))
    script = (
        f'<script type="application/json" id="volumes">{volumes}</script>\n'
        f"<script>\n{_asset('viewer.js')}</script>"
    )
    return section, script


def _section(heading: str, text: str, content: str, css_class: str = "") -> str:
    mark = f' class="{css_class}"' if css_class else ""
    return f"<section{mark}><h2>{heading}</h2><p>{text}</p>{content}</section>"


def _trio(pictures: Mapping[str, Picture], key: str) -> str:
    figures = "".join(
        _figure(picture, f"{plane.capitalize()}: {key}") for plane, picture in pictures.items()
    )
    return f'<div class="grid trio">{figures}</div>'


def _figure(picture: Picture, caption: str, scale: str = "") -> str:
    """A picture that keeps its caption and its colour scale, whatever the width of the screen."""
    return (
        f'<figure><img src="{picture.uri}" alt="{escape(picture.text)}">'
        f"<figcaption>{caption}</figcaption>{scale}</figure>"
    )


def _key(colour: tuple[int, int, int]) -> str:
    return f'<span class="key" style="background:rgb{colour}"></span>'


def _scale(scale: ColourScale | None) -> str:
    """The colour bar of a picture; a grey one has none."""
    if scale is None:
        return ""
    middle = (scale.low + scale.high) / 2
    return (
        f'<div class="scale"><div class="bar" style="background:linear-gradient(to right, '
        f'{scale.gradient()})"></div><div class="ticks"><span>{scale.low:g}</span>'
        f"<span>{middle:g}</span><span>{scale.high:g} {scale.unit}</span></div></div>"
    )


def _asset(name: str) -> str:
    return (resources.files("mri2pet.report") / "assets" / name).read_text(encoding="utf-8")
