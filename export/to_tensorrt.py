"""A trained network as TensorRT plans for the GPU of this machine."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from mri2pet.checkpoint import Model
from mri2pet.engines.exported import Export, is_export, read_export, write_manifest
from mri2pet.engines.tensorrt_calls import build_plan
from mri2pet.engines.tensorrt_plans import (
    GRAPHS,
    Target,
    import_tensorrt,
    passed_self_test,
    plan_file,
    read_plan,
    target_of,
)
from mri2pet.errors import ModelError
from mri2pet.export.to_onnx import export_onnx
from mri2pet.export.verify import verify_export
from mri2pet.files import write_atomically

TIMING_CACHE = "timing.cache"
# Of the memory that is free, what a layer may take as scratch; the network's tensors need little.
WORKSPACE_SHARE = 0.5


def export_tensorrt(
    model: Model,
    folder: str | Path,
    *,
    precision: str = "fp32",
    batch: int = 1,
    device: str = "cuda",
) -> Path:
    """Builds plans of both graphs for this GPU and tests them against torch.

    The ONNX files are written first, or kept where the folder holds them already for the same
    model, precision and batch. Plans are kept by GPU, TensorRT version and ONNX hash: what is
    built is not built again, and one folder serves several kinds of GPU.

    Args:
        model, folder, precision, batch: as `export_onnx`; the plan is strongly typed, so the
            precision is that of the ONNX file.
        device: the GPU.

    Returns:
        The folder.

    Raises:
        UsageError: TensorRT or a GPU is missing, or as `export_onnx`.
        ModelError: names the call of TensorRT that failed, or the plans do not compute what
            torch does.
    """
    tensorrt = import_tensorrt()
    target = target_of(tensorrt, torch.device(device))
    folder = Path(folder)
    if not _holds(folder, model, precision, batch):
        export_onnx(model, folder, precision=precision, batch=batch)
    for graph in GRAPHS:
        _build(tensorrt, read_export(folder), target, graph, torch.device(device))
    if not passed_self_test(read_export(folder), target):
        verify_export(folder, model, engine="tensorrt", device=device)
    return folder


def _holds(folder: Path, model: Model, precision: str, batch: int) -> bool:
    if not is_export(folder):
        return False
    try:
        export = read_export(folder)
    except ModelError:
        return False
    found = (export.manifest["model_sha256"], export.precision, export.batch)
    return found == (model.sha256, precision, batch)


def _build(tensorrt: Any, export: Export, target: Target, graph: str, device: torch.device) -> None:
    try:
        read_plan(export, target, graph)
        return
    except ModelError:
        pass
    path = plan_file(export, target, graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = export.manifest
    caches = manifest.setdefault("timing_caches", {})
    cache_file = path.with_name(TIMING_CACHE)
    start = time.perf_counter()
    with torch.cuda.device(device):
        free, _ = torch.cuda.mem_get_info(device)
        plan, cache = build_plan(
            tensorrt,
            export.file(graph),
            workspace=int(free * WORKSPACE_SHARE),
            timing_cache=_known(cache_file, caches.get(path.parent.name)),
        )
    write_atomically(path, plan)
    write_atomically(cache_file, cache)
    caches[path.parent.name] = hashlib.sha256(cache).hexdigest()
    entry = asdict(target) | {
        "graph": graph,
        "onnx_sha256": manifest["files"][graph]["sha256"],
        "sha256": hashlib.sha256(plan).hexdigest(),
        "bytes": len(plan),
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    same = asdict(target) | {"graph": graph}
    others = [
        e
        for e in manifest.get("plans", [])
        if any(e.get(key) != value for key, value in same.items())
    ]
    manifest["plans"] = [*others, entry]
    write_manifest(export.folder, manifest)


def _known(file: Path, sha256: str | None) -> bytes:
    """A timing cache that is as it was written, else an empty one."""
    content = file.read_bytes() if file.is_file() else b""
    return content if hashlib.sha256(content).hexdigest() == sha256 else b""
