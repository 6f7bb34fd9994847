"""The table of regions on a page, above it what Centiloid and probability are worth."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from statistics import stdev
from typing import Any

HEADINGS = ("Region", "ml", "SUVR", "SD", "In view")


def regions_section(found: Mapping[str, Any] | None) -> str:
    """A section with the composite and the regions of the atlas.

    Args:
        found: the sidecar's `quantification`; None where nothing was asked for.

    Returns:
        HTML, '' without regions.
    """
    if not found:
        return ""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in HEADINGS)
    rows = "".join(_row(region) for region in found["regions"])
    return (
        f"<section><h2>Regions</h2><p>{escape(_text(found))}</p>{_cards(found['values'])}"
        f'<table class="regions"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</section>"
    )


def _text(found: Mapping[str, Any]) -> str:
    atlas, composite = found["atlas"], found["composite"]["name"]
    parts = [f"SUVR over the reference region {found['reference']}. Composite: {composite}."]
    if atlas is not None:
        parts.append(f"Atlas: {atlas['file']}, sha256 {atlas['sha256']}.")
    parts.append("SUVR and SD: mean and spread of the samples; the spread is no error bar.")
    if "status" in found["values"]:
        question = found["values"]["status"]["question"]
        parts.append(f"P is the {question}. {found['threshold']['note']}")
    return " ".join(parts)


def _cards(values: Mapping[str, Any]) -> str:
    """Each value with its heading and its note in one box."""
    boxes = ""
    for key, number, digits in (("centiloid", "centiloid", 0), ("status", "p", 2)):
        if key in values:
            entry = values[key]
            value = "—" if entry[number] is None else f"{entry[number]:.{digits}f}"
            boxes += (
                f'<div class="card"><div class="name">{escape(entry["heading"])}</div>'
                f'<div class="value">{value}</div>'
                f'<div class="detail">{escape(entry["note"])}</div></div>'
            )
    return f'<div class="cards">{boxes}</div>' if boxes else ""


def _row(region: Mapping[str, Any]) -> str:
    suvr, mean = region["suvr"], region["mean"]
    cells = (
        f"{region['volume_ml']:.1f}",
        "—" if mean is None else f"{mean:.3f}",
        f"{stdev(suvr):.3f}" if len(suvr) > 1 else "—",
        f"{100 * region['covered']:.0f} %",
    )
    name = f"{escape(region['region'])} <small>{escape(region['note'])}</small>"
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
