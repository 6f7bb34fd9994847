"""SUVR by region with all that is known of its error: samples, mean, interval, threshold."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

AXIS_SUVR = (0.5, 2.5)
TICKS_SUVR = (0.5, 1.0, 1.5, 2.0, 2.5)


def interval_text(of: Mapping[str, Any]) -> str:
    """`0.95 to 1.52`, or nothing where a result has no interval."""
    interval = of["interval"]
    return "" if interval is None else f"{interval['low']:.2f} to {interval['high']:.2f}"


def uncertainty_section(
    measurements: Mapping[str, Any], threshold: tuple[str, float] | None = None
) -> str:
    """The section of a page: a line each for the cortical composite and every region.

    Args:
        measurements: of the sidecar.
        threshold: name and cortical SUVR of an amyloid threshold.
    """
    lines = _line("cortical composite", measurements["cortical_suvr"], threshold)
    for name, of in measurements["regional_suvr"].items():
        lines += _line(name.replace("_", " "), of)
    ticks = "".join(f'<i style="left:{_place(tick):.2f}%">{tick:g}</i>' for tick in TICKS_SUVR)
    return (
        "<section><h2>How sure the numbers are</h2>"
        f"<p>{_words(measurements, threshold)}</p>"
        f'<div class="regions">{lines}<div class="region ticks"><span></span>'
        f'<span class="track">{ticks}</span><span>SUVR</span></div></div></section>'
    )


def _words(measurements: Mapping[str, Any], threshold: tuple[str, float] | None) -> str:
    cortical = measurements["cortical_suvr"]
    if len(cortical["samples"]) == 1:
        parts = ["The line is the one sample."]
    else:
        parts = [
            "Dots are the samples, the line is the mean PET. Where the model knows the level that "
            "it expects, the mean has it, so it need not lie in the middle of a few dots."
        ]
    if cortical["interval"] is None:
        note = escape(measurements["uncertainty"])
        parts.append(f"{note[:1].upper()}{note[1:]}.")
    else:
        level = f"{100 * cortical['interval']['level']:g}"
        parts += [
            f"The bar is the {escape(measurements['uncertainty'])}.",
            f"For {level} of 100 such people a measured PET lies in it, one region at a time; it "
            "promises nothing for one person in particular, another scanner or another cohort.",
        ]
    if threshold is not None:
        name, suvr = threshold
        parts.append(f"The dashed line is the threshold {escape(name)}, {suvr:g} SUVR.")
    return " ".join(parts)


def _line(name: str, of: Mapping[str, Any], threshold: tuple[str, float] | None = None) -> str:
    marks = ""
    if interval := of["interval"]:
        low, high = _place(interval["low"]), _place(interval["high"])
        marks += f'<i class="bar" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
    marks += "".join(
        f'<i class="sample" style="left:{_place(value):.2f}%"></i>' for value in of["samples"]
    )
    marks += f'<i class="mean" style="left:{_place(of["mean"]):.2f}%"></i>'
    if threshold is not None:
        marks += f'<i class="threshold" style="left:{_place(threshold[1]):.2f}%"></i>'
    text = f"{of['mean']:.2f}"
    if of["interval"] is not None:
        text += f" ({interval_text(of)})"
    return (
        f'<div class="region"><span>{escape(name)}</span><span class="track">{marks}</span>'
        f"<span>{text}</span></div>"
    )


def _place(suvr: float) -> float:
    """Where a value lies on the axis, %; what lies outside stands at its end."""
    low, high = AXIS_SUVR
    return 100 * min(max((suvr - low) / (high - low), 0.0), 1.0)
