"""The numbers of a page: cards for the first look, tables for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from mri2pet.report.interval import interval_text

UNITS = {"_mm": "mm", "_ml": "ml", "_s": "s", "_mib": "MiB", "_deg": "°"}


def cards(sidecar: Mapping[str, Any]) -> str:
    """The figures that a reader looks for first."""
    cortical = sidecar["measurements"]["cortical_suvr"]
    cerebellum = sidecar["measurements"]["cerebellum_suvr"]["mean"]
    checks, seconds = sidecar["checks"], sidecar["seconds"]
    items = [
        _card("Cortical SUVR", f"{cortical['mean']:.3f}", _cortical_detail(cortical)),
        _card(
            "Cerebellum",
            f"{cerebellum:.3f} <small>SUVR</small>",
            "reference region, expected near 1",
        ),
        _card(
            "Registration",
            f"{_number(checks.get('correlation_with_template'), 2)} <small>correlation</small>",
            f"Dice {_number(checks.get('dice_with_template'), 2)} with the template's brain",
        ),
        _card(
            "Brain mask",
            f"{_number(checks.get('mask_volume_ml'), 0)} <small>ml</small>",
            escape(f"volume in the subject's space; from: {checks.get('extractor_used', '—')}"),
        ),
        _card(
            "Time",
            f"{sum(seconds.values()):.0f} <small>s</small>",
            escape(f"{sidecar['device']}, peak {_memory(sidecar['peak_memory_mib'])}"),
        ),
    ]
    return f'<div class="cards">{"".join(items)}</div>'


def notes(warnings: Iterable[str]) -> str:
    """What the program wants looked at, if anything."""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="notes"><strong>Please note</strong><ul>{items}</ul></div>' if items else ""


def tables(sidecar: Mapping[str, Any]) -> str:
    """Measurements, checks, times and provenance."""
    parts = [
        _table("Measurements", _measurements(sidecar["measurements"])),
        _table("Registration and mask", sidecar["checks"]),
        _table("Time", {name: f"{value:.1f} s" for name, value in sidecar["seconds"].items()}),
        _table("Input", sidecar["input"]),
        _table("Model", _described(sidecar["model"])),
        _table("Settings", sidecar["settings"]),
        _table("Software", {**sidecar["versions"], "device": sidecar["device"]}),
    ]
    inner = "".join(part for part in parts if part)
    return f'<section><h2>Numbers and provenance</h2><div class="tables">{inner}</div></section>'


def _described(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model, and of an ensemble who draws which samples."""
    rows = {key: value for key, value in model.items() if key not in ("provenance", "members")}
    members = model.get("members", [])
    for place, member in enumerate(members):
        drawn = f"samples {place + 1}, {place + 1 + len(members)} … drawn by"
        rows[drawn] = f"{member['name']}, SHA-256 {member['sha256']}"
    return rows | _scalars(model.get("provenance", {}))


def _measurements(measurements: Mapping[str, Any]) -> dict[str, str]:
    cortical = measurements["cortical_suvr"]
    rows = {"cortical SUVR, mean": f"{cortical['mean']:.3f}"}
    if cortical["sd_of_samples"] is not None:
        rows["cortical SUVR, SD of the samples"] = f"{cortical['sd_of_samples']:.3f}"
    if interval := cortical["interval"]:
        rows["cortical SUVR, interval"] = f"{interval['low']:.3f} to {interval['high']:.3f}"
        rows["method of the interval"] = interval["method"]
    rows["uncertainty"] = measurements["uncertainty"]
    rows["cortical SUVR of each sample"] = ", ".join(f"{v:.3f}" for v in cortical["samples"])
    rows["cerebellum, mean SUVR"] = f"{measurements['cerebellum_suvr']['mean']:.3f}"
    rows["cortical region"] = (
        "composite of frontal, cingulate, precuneus, parietal and lateral temporal cortex"
    )
    rows["reference"] = "whole cerebellum"
    return rows


def _cortical_detail(cortical: Mapping[str, Any]) -> str:
    if interval := cortical["interval"]:
        return f"{100 * interval['level']:g} % interval {interval_text(cortical)}"
    if cortical["sd_of_samples"] is None:
        return "one sample: nothing is known of its error"
    return f"SD of samples {cortical['sd_of_samples']:.3f}, not an error bar"


def _card(name: str, value: str, detail: str) -> str:
    return (
        f'<div class="card"><div class="name">{name}</div><div class="value">{value}</div>'
        f'<div class="detail">{detail}</div></div>'
    )


def _table(caption: str, rows: Mapping[str, Any]) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(_label(key))}</th><td>{escape(_text(value))}</td></tr>'
        for key, value in _flat(rows).items()
    )
    return f"<div><table><caption>{caption}</caption>{lines}</table></div>" if lines else ""


def _scalars(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The first level alone: whole configurations stay in the sidecar."""
    return {key: value for key, value in provenance.items() if not isinstance(value, Mapping)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.update(_flat(value, f"{name}: "))
        else:
            rows[name] = value
    return rows


def _label(key: str) -> str:
    for ending, unit in UNITS.items():
        if key.endswith(ending):
            return f"{key.removesuffix(ending).replace('_', ' ')} ({unit})"
    return key.replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _number(value: Any, digits: int) -> str:
    return "—" if value is None else f"{float(value):.{digits}f}"


def _memory(peak: Mapping[str, int | None]) -> str:
    parts = [f"{v / 1024:.1f} GiB{' GPU' if k == 'cuda' else ''}" for k, v in peak.items() if v]
    return " + ".join(parts) or "memory unknown"
