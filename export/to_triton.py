"""A model repository for Triton Inference Server around an export."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from mri2pet import WARNING
from mri2pet.diffusion.samplers import make_table
from mri2pet.engines.choose import EXPORTED
from mri2pet.engines.exported import FILES, MANIFEST, PLANS, Export, is_export, read_export
from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.files import write_atomically
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, recorded_reference

CONFIG, VERSION, MODEL, EXPORT = "config.pbtxt", "1", "model.py", "export"
DEVICES = ("cpu", "cuda")
MAX_SAMPLES = 64


def export_triton(
    export_folder: str | Path,
    repository: str | Path,
    *,
    name: str = "mri2pet",
    samples: int = 4,
    steps: int = 25,
    sampler: str = "dpmpp",
    engine: str = "onnxruntime",
    device: str = "cpu",
    instances: int = 1,
    threads: int = 0,
) -> Path:
    """Writes `<name>/config.pbtxt`, `<name>/1/model.py` and `<name>/1/export/` in a repository.

    The model takes an MRI in model space and gives PET volumes in SUVR on the model's PET grid, see
    `triton_model`; preprocessing and the way back are the client's. It appears under its name
    complete or not at all.

    Args:
        export_folder: from `export_onnx`, or `export_tensorrt` for the engine "tensorrt".
        repository: folder of Triton's models; made when it does not exist.
        name: of the model. A model of this name that came from here is replaced.
        samples: volumes of a request that does not say how many; at most `MAX_SAMPLES`.
        steps, sampler: of every request, see `diffusion.samplers.make_table`.
        engine: "onnxruntime" or "tensorrt".
        device: "cpu", or "cuda" for instances on each GPU.
        instances: processes, each with an engine of its own; on CUDA for each GPU.
        threads: of an instance on the CPU; 0 for all cores.

    Returns:
        The folder `<repository>/<name>`.

    Raises:
        UsageError: an option that makes no sense, or a folder that holds something else.
        ModelError: the export is incomplete or changed, holds no plans, or its model has only been
            pre-trained.
        Mri2petError: the repository cannot be written.
    """
    export = read_export(export_folder)
    repository = Path(repository)
    parameters: dict[str, str | int] = {
        "engine": engine,
        "sampler": sampler,
        "steps": steps,
        "samples": samples,
        "max_samples": MAX_SAMPLES,
        "threads": threads,
    }
    _check_options(export, parameters, name, device, instances)
    _check_place(repository, name)
    config = _config(export, parameters, name, device, instances)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        for left in repository.glob(f".{name}.????????.*partial"):
            shutil.rmtree(left)
        staging = Path(tempfile.mkdtemp(dir=repository, prefix=f".{name}.", suffix=".partial"))
        try:
            _write(staging, export, engine, config)
            _put_in_place(staging, repository / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise Mri2petError(
            f"{repository}: cannot be written ({error.strerror}); make room or choose another one"
        ) from None
    return repository / name


def _check_options(
    export: Export, parameters: dict[str, str | int], name: str, device: str, instances: int
) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"name {name!r}: take letters, digits, and _ . - between them")
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is none of {', '.join(DEVICES)}")
    engine, samples = str(parameters["engine"]), int(parameters["samples"])
    if engine not in EXPORTED:
        raise UsageError(f"engine {engine!r} is none of {', '.join(EXPORTED)}")
    if not 1 <= samples <= MAX_SAMPLES:
        raise UsageError(f"samples must lie in 1 … {MAX_SAMPLES}, not {samples}")
    for what, value, least in (
        ("instances", instances, 1),
        ("threads", int(parameters["threads"]), 0),
    ):
        if value < least:
            raise UsageError(f"{what} must be at least {least}, not {value}")
    make_table(str(parameters["sampler"]), export.config.prediction, int(parameters["steps"]))
    if engine == "tensorrt":
        if device == "cpu":
            raise UsageError("the engine tensorrt needs an NVIDIA GPU: device cuda")
        if not (export.folder / PLANS).is_dir():
            raise ModelError(
                f"{export.folder}: holds no TensorRT plans; make them with `mri2pet export MODEL "
                f"-o {export.folder} --format tensorrt`"
            )
    training = export.manifest.get("provenance", {}).get("config", {}).get("training", {})
    if training.get("stage") == "pretrain":
        raise ModelError(
            f"{export.folder}: its model is pre-trained on PET-like MRIs and draws no SUVR; "
            "fine-tune it first"
        )


def _check_place(repository: Path, name: str) -> None:
    """Refuses what would be overwritten and did not come from here."""
    if repository.exists() and not repository.is_dir():
        raise UsageError(f"{repository}: not a folder")
    if is_export(repository):
        raise UsageError(f"{repository}: an export; name another folder for Triton's models")
    target = repository / name
    if not target.exists() and not target.is_symlink():
        return
    ours = target.is_dir() and not target.is_symlink() and is_export(target / VERSION / EXPORT)
    known = {target: {CONFIG, VERSION}, target / VERSION: {MODEL, EXPORT, "__pycache__"}}
    if not ours or any(
        {f.name for f in folder.iterdir()} - names for folder, names in known.items()
    ):
        raise UsageError(f"{target}: holds something else; name another model or repository")


def _write(folder: Path, export: Export, engine: str, config: str) -> None:
    """The model's files; raises ModelError where the export changed while it was copied."""
    copied = folder / VERSION / EXPORT
    copied.mkdir(parents=True)
    for file in (*FILES, MANIFEST):
        shutil.copyfile(export.file(file), copied / file)
    if engine == "tensorrt":
        shutil.copytree(export.file(PLANS), copied / PLANS)
    read_export(copied)
    model = resources.files("mri2pet.export") / "triton_model.py"
    write_atomically(folder / VERSION / MODEL, model.read_bytes())
    write_atomically(folder / CONFIG, config.encode())
    folder.chmod(0o755)


def _put_in_place(staging: Path, target: Path) -> None:
    """Renames; an old model goes only when the new one is there."""
    if not target.exists():
        os.rename(staging, target)
        return
    old = staging.with_name(staging.name.replace(".partial", ".old.partial"))
    os.rename(target, old)
    try:
        os.rename(staging, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old)


def _config(
    export: Export, parameters: dict[str, str | int], name: str, device: str, instances: int
) -> str:
    """The model's configuration in protobuf's text format.

    Facts of the model go along as parameters, so that a client can write them beside its images.
    """
    reference = recorded_reference(export.manifest.get("provenance", {}))
    built_in = reference["key"] in (CEREBELLUM, MINMAX)
    facts = {
        "model": export.manifest["name"],
        "model_sha256": export.manifest["model_sha256"],
        "precision": export.precision,
        "mri2pet": export.manifest["mri2pet"],
        "reference_region": "whole cerebellum" if built_in else reference["name"],
        "warning": WARNING,
    }
    mri, pet = (", ".join(map(str, s)) for s in (export.config.mri_shape, export.config.pet_shape))
    kind = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}[device]
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "python"',
        "max_batch_size: 0",
        "input [",
        f'  {{ name: "MRI" data_type: TYPE_FP32 dims: [ 1, {mri} ] }},',
        '  { name: "SEED" data_type: TYPE_UINT32 dims: [ 1 ] optional: true },',
        '  { name: "SUBJECT" data_type: TYPE_UINT64 dims: [ 1 ] optional: true },',
        '  { name: "SAMPLES" data_type: TYPE_UINT32 dims: [ 1 ] optional: true }',
        "]",
        "output [",
        f'  {{ name: "PET" data_type: TYPE_FP32 dims: [ -1, {pet} ] }},',
        f'  {{ name: "MEAN" data_type: TYPE_FP32 dims: [ {pet} ] }}',
        "]",
        f"instance_group [ {{ count: {instances} kind: {kind} }} ]",
    ]
    for key, value in (parameters | facts).items():
        quoted = json.dumps(str(value), ensure_ascii=False)
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: {quoted} }} }}')
    return "\n".join(lines) + "\n"
