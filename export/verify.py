"""Does an export compute what the torch model computes? Measured, and written to its manifest."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mri2pet.checkpoint import Model, load_model
from mri2pet.engines.base import Engine
from mri2pet.engines.exported import read_export, write_manifest
from mri2pet.engines.sampling import sample_subjects
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.errors import ModelError, UsageError

# Largest relative L2 difference to torch in float32 that passes: of one evaluation, and of the
# volume after SAMPLING_STEPS steps.
TOLERANCES: dict[str, dict[str, float]] = {
    "fp32": {"output": 1e-4, "volume": 1e-4},
    "fp16": {"output": 1e-2, "volume": 3e-2},
    "mixed": {"output": 1e-2, "volume": 3e-2},
}
TIMES = (1, 100, 500, 900, 999)
SAMPLING_STEPS = 5


def verify_export(
    folder: str | Path,
    model: Model | str | Path,
    *,
    engine: str = "onnxruntime",
    device: str = "cpu",
) -> dict[str, Any]:
    """Compares an export in an engine with the torch model it was made from.

    Args:
        folder: the export.
        model: the model, or its name or folder.
        engine: "onnxruntime" or "tensorrt"; passing is what lets TensorRT's plans be used.
        device: "cpu" or "cuda"; TensorRT takes "cuda" alone.

    Returns:
        The entry that was appended to the manifest's `verification`: engine, device, version,
        the differences, the tolerances, passed.

    Raises:
        ModelError: another model than the export's, or a difference above its tolerance; a
            failure is written to the manifest as well.
        UsageError: an unknown engine, or one that cannot run here.
    """
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: choose one of {', '.join(ENGINES)}")
    if not isinstance(model, Model):
        model = load_model(model)
    export = read_export(folder)
    if model.sha256 != export.manifest["model_sha256"]:
        raise ModelError(f"{folder}: was made from another model than {model.name}")
    loaded, facts = ENGINES[engine](folder, device)
    measured = compare(loaded, TorchEngine(model))
    tolerances = export.manifest["tolerances"]
    passed = all(measured[name] <= tolerances[name] for name in tolerances)
    entry = {
        **facts,
        "machine": platform.machine(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "times": list(TIMES),
        "sampler": f"dpmpp, {SAMPLING_STEPS} steps",
        "relative_difference": measured,
        "tolerances": tolerances,
        "passed": passed,
    }
    manifest = export.manifest
    manifest["verification"] = [*manifest["verification"], entry]
    write_manifest(export.folder, manifest)
    if not passed:
        raise ModelError(
            f"{folder}: {engine} does not compute what torch computes: relative difference "
            f"{measured['output']:.1e} of an evaluation (at most {tolerances['output']:.0e}), "
            f"{measured['volume']:.1e} of a volume (at most {tolerances['volume']:.0e})"
        )
    return entry


def _onnxruntime(folder: str | Path, device: str) -> tuple[Engine, dict[str, Any]]:
    from mri2pet.engines.onnxruntime_engine import OnnxRuntimeEngine, load_onnxruntime

    loaded = OnnxRuntimeEngine(folder, device)
    version = load_onnxruntime().__version__
    return loaded, {"engine": f"onnxruntime {version}", "device": device}


def _tensorrt(folder: str | Path, device: str) -> tuple[Engine, dict[str, Any]]:
    from mri2pet.engines.tensorrt_engine import TensorRtEngine
    from mri2pet.engines.tensorrt_plans import GRAPHS, plan_entry, surroundings

    loaded = TensorRtEngine(folder, device, tested=False)
    entries = [plan_entry(loaded.export, loaded.target, graph) for graph in GRAPHS]
    return loaded, {
        "engine": f"tensorrt {loaded.target.tensorrt}",
        **surroundings(loaded.target),
        "plans": [entry["sha256"] for entry in entries if entry],
    }


ENGINES = {"onnxruntime": _onnxruntime, "tensorrt": _tensorrt}


@torch.inference_mode()
def compare(engine: Engine, reference: Engine) -> dict[str, float]:
    """Relative L2 differences: `output`, the worst over TIMES, and `volume` after a short run.

    Every volume of the engine's batch is another one of another person, and counts by itself.
    """
    config, people = reference.config, engine.batch or 1
    generator = torch.Generator().manual_seed(0)
    mris = torch.rand(people, 1, *config.mri_shape, generator=generator)
    x = torch.randn(people, 1, *config.pet_shape, generator=generator)
    times = torch.tensor(TIMES)
    evaluations = [_evaluations(e, mris, x, times) for e in (engine, reference)]
    output = max(
        relative_difference(*volumes)
        for pair in zip(*evaluations, strict=True)
        for volumes in zip(*pair, strict=True)
    )
    drawn = [
        sample_subjects(
            e, mris, range(people), samples=1, steps=SAMPLING_STEPS, seed=1, batch=people
        )
        for e in (engine, reference)
    ]
    volume = max(relative_difference(*volumes) for volumes in zip(*drawn, strict=True))
    return {"output": output, "volume": volume}


def _evaluations(engine: Engine, mris: Tensor, x: Tensor, times: Tensor) -> Iterator[Tensor]:
    """The network's output [people, 1, K, I, J] at each of the times."""
    people = [engine.condition(mri[None], times) for mri in mris]
    inputs = [torch.cat(tensors) for tensors in zip(*(p.inputs for p in people), strict=True)]
    for i in range(len(times)):
        rows = torch.stack([p.bias_rows[i] for p in people])
        yield people[0].evaluate(x.to(engine.device), rows, *inputs).clone()


def relative_difference(got: Tensor, wanted: Tensor) -> float:
    """‖got − wanted‖ / ‖wanted‖ in float64; infinite where `got` is not finite."""
    got, wanted = got.detach().cpu().double(), wanted.detach().cpu().double()
    difference = float((got - wanted).norm() / wanted.norm())
    return difference if difference == difference else float("inf")
