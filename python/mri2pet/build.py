"""What was built, and what of it works here: native module, devices, engines, models, packages."""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from typing import Any

import mri2pet

PACKAGES = ("torch", "numpy", "scipy", "nibabel", "antspyx", "nilearn", "safetensors")


def native_build() -> dict[str, Any]:
    """What `mri2pet._C` says of its own build.

    Keys: built (bool), reason (why not, else None), version, revision (git, "-dirty" when files
    differed from it), compiler, build_type and cuda (enabled, version, status, architectures,
    kernel_files). Without the module the facts are None and the reason says what to do.
    """
    try:
        info = import_module("mri2pet._C").build_info()
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        what = "there is none in this folder" if missing else f"it cannot be loaded ({error})"
        reason = f"the native module is not built: {what}; install mri2pet with `pip install .`"
        facts = ("revision", "compiler", "build_type", "cuda")
        return {"built": False, "reason": reason, "version": None} | dict.fromkeys(facts)
    return {"built": True, "reason": None, **info}


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
    try:
        runtime = import_module("onnxruntime")
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


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that results depend on; None where one is missing."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def describe() -> dict[str, Any]:
    """All of the above as one JSON-ready tree, with the bundled models and the machine."""
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
