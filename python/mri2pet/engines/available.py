"""What works here: devices and engines, with the reasons of those that do not."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import mri2pet
from mri2pet.build import native_build, package_versions


def devices() -> list[dict[str, Any]]:
    """The devices that torch can use here, each with name, works, detail (or the reason)."""
    import torch

    found = [{"name": "cpu", "works": True, "detail": f"{torch.get_num_threads()} threads"}]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        detail = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}"
        found.append({"name": f"cuda:{index}", "works": True, "detail": detail})
    if len(found) == 1:
        if torch.version.cuda is None:
            why = f"torch {torch.__version__} was built without CUDA"
        else:
            why = f"torch was built for CUDA {torch.version.cuda}, but no device answers"
        found.append({"name": "cuda", "works": False, "detail": why})
    return found


def engines() -> list[dict[str, Any]]:
    """What can evaluate the network: each engine with name, works, detail (or the reason)."""
    return [
        {"name": "torch", "works": True, "detail": f"torch {metadata.version('torch')}"},
        _onnxruntime(),
        _tensorrt(),
    ]


def _onnxruntime() -> dict[str, Any]:
    from mri2pet.engines.onnxruntime_engine import load_onnxruntime

    try:
        runtime = load_onnxruntime()
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        why = "not installed: pip install 'mri2pet[onnx]'" if missing else str(error)
        return {"name": "onnxruntime", "works": False, "detail": why}
    providers = ", ".join(runtime.get_available_providers())
    return {
        "name": "onnxruntime",
        "works": True,
        "detail": f"onnxruntime {runtime.__version__} ({providers})",
    }


def _tensorrt() -> dict[str, Any]:
    import torch

    from mri2pet.engines.tensorrt_plans import import_tensorrt, target_of
    from mri2pet.errors import UsageError

    try:
        target = target_of(import_tensorrt(), torch.device("cuda"))
    except UsageError as error:
        return {"name": "tensorrt", "works": False, "detail": str(error)}
    return {"name": "tensorrt", "works": True, "detail": str(target)}


def describe() -> dict[str, Any]:
    """What was built and what works as one JSON-ready tree, with the bundled models."""
    from mri2pet.checkpoint import bundled_models

    return {
        "version": mri2pet.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "native": native_build(),
        "devices": devices(),
        "engines": engines(),
        "models": bundled_models(),
        "packages": package_versions(),
        "warning": mri2pet.WARNING,
    }
