"""The JSON sidecar: everything needed to know, judge and repeat a result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mri2pet import WARNING
from mri2pet.build import versions
from mri2pet.imaging.suvr.drawn import EXPECTED_LEVEL

if TYPE_CHECKING:
    from mri2pet.engines import Engine
    from mri2pet.synthesis.drawing import Drawer

FORMAT = 3
MEAN = "Mean of synthetic AV45 PET volumes, drawn by a model from the T1-weighted MRI{}; no tracer."
SPREAD = "Standard deviation over the synthetic AV45 PET volumes; not an error bar."


def make_sidecar(
    *,
    image: Mapping[str, str],
    model: Drawer,
    settings: Mapping[str, Any],
    measurements: Mapping[str, Any],
    checks: Mapping[str, Any],
    warnings: list[str],
    seconds: Mapping[str, float],
    outputs: Mapping[str, str],
    template_from_subject: Any,
    uri: str | None = None,
    quantification: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A tree of plain JSON values; keys with BIDS names have their BIDS meaning."""
    level = f", {EXPECTED_LEVEL}" if settings["mean"] == EXPECTED_LEVEL else ""
    return {
        "format": FORMAT,
        "synthetic": True,
        "warning": WARNING,
        "Units": "SUVR",
        "ReferenceRegion": _reference_region(model.provenance),
        "TracerName": "AV45 (florbetapir), simulated: no tracer was given",
        **_in_bids(MEAN.format(level), uri),
        "input": dict(image),
        "model": model.described,
        "settings": dict(settings),
        "measurements": plain(measurements),
        "quantification": plain(quantification),
        "space": {
            "template": "MNI152NLin2009aSym",
            "template_from_subject": plain(template_from_subject),
        },
        "checks": plain(checks),
        "warnings": list(warnings),
        "seconds": {name: round(float(value), 3) for name, value in seconds.items()},
        "peak_memory_mib": peak_memory_mib(model.device),
        "device": model.device_name,
        "engine": model.engine,
        "versions": versions(),
        "outputs": dict(outputs),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def describe_model(model: Engine) -> dict[str, Any]:
    """Of an ensemble `members` in their order: sample k is drawn by number k mod their count."""
    from mri2pet.engines.ensemble import Ensemble

    tree = {
        "name": model.name,
        "sha256": model.sha256,
        "family": model.config.family,
        "mri_shape": list(model.config.mri_shape),
        "pet_shape": list(model.config.pet_shape),
    }
    if isinstance(model, Ensemble):
        return tree | {"members": [describe_model(member) for member in model.members]}
    return tree | {
        "prediction": model.config.prediction,
        "cond": model.config.cond,
        "provenance": plain(model.provenance),
    }


def std_sidecar(sidecar: Mapping[str, Any], uri: str | None) -> dict[str, Any]:
    """What BIDS asks of the map of the spread, whose own sidecar a derivative has."""
    kept = ("synthetic", "warning", "Units", "ReferenceRegion", "TracerName")
    return {**{name: sidecar[name] for name in kept}, **_in_bids(SPREAD, uri)}


def _in_bids(description: str, uri: str | None) -> dict[str, Any]:
    """The keys of a derived image in the space of the T1 that has this BIDS URI."""
    origin = {} if uri is None else {"SpatialReference": uri, "Sources": [uri]}
    return {"Description": description, "SkullStripped": True, **origin}


def _reference_region(provenance: Mapping[str, Any]) -> str:
    """What is 1 SUVR: the whole cerebellum, or the VOI that scaled what the model learnt."""
    from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, recorded_reference

    reference = recorded_reference(provenance)
    in_cerebellum = reference["key"] in (CEREBELLUM, MINMAX)
    return "whole cerebellum" if in_cerebellum else reference["name"]


def plain(value: Any) -> Any:
    """The same with numpy numbers, arrays, tuples and paths turned into JSON values.

    Numbers that JSON does not know (NaN, infinity) become null.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def peak_memory_mib(device: str) -> dict[str, int | None]:
    """Peak memory of this process so far, MiB: resident, and on the GPU when it uses one."""
    peak: dict[str, int | None] = {"process": None}
    if sys.platform != "win32":
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
    torch = sys.modules.get("torch")
    if device == "cuda" and torch is not None and torch.cuda.is_initialized():
        peak["cuda"] = torch.cuda.max_memory_allocated() // 2**20
    return peak


def device_name(device: str) -> str:
    """`cpu (4 threads)` or the name of the GPU."""
    import torch

    if device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"{device} ({torch.get_num_threads()} threads)"
