"""Which TensorRT plans an export holds, for which GPU, and which of them may be used.

A plan serves one GPU model and one version of TensorRT. It is executable code: it is loaded only
when its hash is the one in the export's manifest, and used only after it passed a self-test on
this GPU with this driver and CUDA, because TensorRT has compiled graphs wrongly without a word.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mri2pet.engines.exported import DENOISER, ENCODER, PLANS, Export
from mri2pet.errors import ModelError, UsageError

GRAPHS = (ENCODER, DENOISER)
DRIVER = Path("/sys/module/nvidia/version")
EXTRA = "install it with `pip install 'mri2pet[gpu]'` on a machine with an NVIDIA GPU"


@dataclass(frozen=True)
class Target:
    """What a plan is built for: GPU model, compute capability, TensorRT version."""

    gpu: str
    capability: str
    tensorrt: str

    def __str__(self) -> str:
        return f"{self.gpu} (sm_{self.capability.replace('.', '')}) with TensorRT {self.tensorrt}"


def import_tensorrt() -> Any:
    """TensorRT's module.

    Raises:
        UsageError: not installed, or its libraries do not load.
    """
    try:
        return import_module("tensorrt")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be loaded ({error})"
        raise UsageError(f"the engine tensorrt {why}; {EXTRA}") from None


def target_of(tensorrt: Any, device: torch.device) -> Target:
    """The GPU of a torch device and the TensorRT that is installed.

    Raises:
        UsageError: no GPU answers.
    """
    if not torch.cuda.is_available():
        raise UsageError("the engine tensorrt needs an NVIDIA GPU, and none answers here")
    card = torch.cuda.get_device_properties(device)
    return Target(card.name, f"{card.major}.{card.minor}", str(tensorrt.__version__))


def plan_file(export: Export, target: Target, graph: str) -> Path:
    """Where the plan of a graph lies; beside it `timing.cache`."""
    words = f"{target.gpu}-sm{target.capability}-{target.tensorrt}"
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.")
    return export.folder / PLANS / name / graph.replace(".onnx", ".plan")


def plan_entry(export: Export, target: Target, graph: str) -> dict[str, Any] | None:
    """The manifest's entry for a plan of this graph, as it is now, and target."""
    wanted = asdict(target) | {
        "graph": graph,
        "onnx_sha256": export.manifest["files"][graph]["sha256"],
    }
    for entry in export.manifest.get("plans", []):
        if all(entry.get(key) == value for key, value in wanted.items()):
            return dict(entry)
    return None


def read_plan(export: Export, target: Target, graph: str) -> bytes:
    """A plan whose bytes are those that were built.

    Raises:
        ModelError: there is none for this GPU and version, or it is missing, cut or changed.
    """
    entry = plan_entry(export, target, graph)
    again = f"build it with `mri2pet export MODEL -o {export.folder} --format tensorrt`"
    if entry is None:
        built = {
            str(Target(e["gpu"], e["capability"], e["tensorrt"]))
            for e in export.manifest.get("plans", [])
        }
        others = f", only for {'; '.join(sorted(built))}" if built else ""
        raise ModelError(f"{export.folder}: no TensorRT plan for {target}{others}; {again}")
    path = plan_file(export, target, graph)
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; {again}") from None
    if hashlib.sha256(plan).hexdigest() != entry["sha256"]:
        raise ModelError(f"{path}: not the plan that was built (its hash differs); {again}")
    return plan


def surroundings(target: Target) -> dict[str, str | None]:
    """What a self-test holds for, beside the plans: GPU model, driver and CUDA.

    The driver compiles parts of a plan when it is loaded. It is None where Linux does not tell.
    """
    try:
        driver = DRIVER.read_text().strip()
    except OSError:
        driver = None
    return {"device": target.gpu, "driver": driver, "cuda": torch.version.cuda}


def passed_self_test(export: Export, target: Target) -> bool:
    """Whether the plans for this target, as they are now, passed their latest self-test here."""
    entries = [plan_entry(export, target, graph) for graph in GRAPHS]
    plans = [entry["sha256"] if entry else None for entry in entries]
    wanted = surroundings(target) | {"plans": plans}
    tests = [
        test
        for test in export.manifest["verification"]
        if all(test.get(key) == value for key, value in wanted.items())
    ]
    return bool(tests) and tests[-1].get("passed") is True
