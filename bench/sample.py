"""Time of a sampled volume, by engine, against the loop as the paper's authors run it."""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.allocator import keep_freed_memory
from mri2pet.bench.timing import (
    MINIMUM_REPEATS,
    describe,
    environment,
    extra_bytes,
    measure,
    prepare,
)
from mri2pet.devices import whole_float32
from mri2pet.engines.choose import EXPORTED, load_engine
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.stages import load_config

if TYPE_CHECKING:
    from torch import Tensor

    from mri2pet.checkpoint import Model
    from mri2pet.engines.base import Engine

FORMS = (
    "authors",
    "torch",
    "torch-tf32",
    "torch-bf16",
    "torch-fp16",
    "onnxruntime",
    "onnxruntime-fp16",
    "tensorrt",
    "tensorrt-fp16",
    "openvino",
)
ON_CPU = ("authors", "torch", "torch-bf16", "onnxruntime", "openvino")
# Relative, by precision; a TF32 convolution has the 11 bits of a half one.
LARGEST_DIFFERENCE = {"fp32": 1e-3, "tf32": 3e-2, "bf16": 5e-2, "fp16": 3e-2}
SLOW_RUN_S, SLOW_REPEATS = 2.0, 3  # a form whose run takes longer is timed less often


def default_forms(device: str) -> tuple[str, ...]:
    """What is worth timing on a device; TensorRT and OpenVINO where they are installed."""
    cuda = device.startswith("cuda")
    forms = (form for form in FORMS if form != "openvino") if cuda else ON_CPU
    missing = [name for name in ("tensorrt", "openvino") if find_spec(name) is None]
    return tuple(form for form in forms if _parts(form)[0] not in missing)


@dataclass(frozen=True)
class Job:
    """What every form does."""

    preset: str
    settings: tuple[str, ...]
    device: str
    batch: int
    sampler: str
    steps: int
    threads: int | None
    repeats: int


def bench_sample(
    preset: str = "compact",
    *,
    forms: Sequence[str] = ("authors", "torch", "onnxruntime"),
    settings: Sequence[str] = (),
    device: str = "cpu",
    batch: int = 1,
    sampler: str = "dpmpp",
    steps: int = 5,
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
    apart: bool = False,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Times whole sampling runs, with random weights; every form must give the same volume first.

    Forms: "authors" is the paper's loop as published (unfused plain torch, the MRI encoded again at
    every step, float32 with torch's defaults, which are TF32 convolutions on CUDA); "openvino" is
    an export in OpenVINO; the others are the engines in fp32, or in the precision after the dash
    ("torch-tf32", "torch-fp16" and TensorRT on CUDA alone).

    Args:
        apart: each form in a process of its own, so that none meets the threads of another.
        on_row: called with the result so far after each form.

    Returns:
        A JSON-ready tree: `environment` and `rows`, one a form, with seconds a volume and an
        evaluation, seconds a run of the paper's 999 evaluations would take by these, volumes a
        minute, median, min and max seconds of a run, what torch allocated at most during the first
        run, which captures a CUDA graph (None for the engines of an export, which allocate for
        themselves), and the relative difference to the volume of the first form that ran. A form
        that cannot run here, or gives another volume, has a `reason` instead.

    Raises:
        UsageError: an unknown form, preset or setting, or numbers out of range.
        Mri2petError: no form could be timed.
    """
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"unknown form {form!r}; there are {', '.join(FORMS)}")
    if batch < 1:
        raise UsageError(f"batch {batch}: at least 1 volume is needed")
    load_config(preset, settings)
    prepare(device, repeats, threads)
    job = Job(preset, tuple(settings), device, batch, sampler, steps, threads, repeats)
    rows: list[dict[str, Any]] = []
    how = {"preset": preset, "batch": batch, "sampler": sampler, "steps": steps, "apart": apart}
    result = {"benchmark": "sample", **how, "repeats": repeats, "environment": environment(device)}
    result["rows"] = rows
    first: Tensor | None = None
    for form in forms:
        row, volume = _alone(job, form, first) if apart else _timed(job, form, first)
        release_memory()  # for the next form
        first = volume if first is None else first
        rows.append(row)
        if on_row is not None:
            on_row(result)
    if all("reason" in row for row in rows):
        reasons = "; ".join(f"{row['form']}: {row['reason']}" for row in rows)
        raise Mri2petError(f"no form could be timed: {reasons}")
    return result


def _alone(job: Job, form: str, first: Tensor | None) -> tuple[dict[str, Any], Tensor | None]:
    """`_timed` in a process that ends with it."""
    import torch

    context = multiprocessing.get_context("spawn")
    given = None if first is None else first.numpy()
    with ProcessPoolExecutor(1, context) as pool:
        try:
            row, volume = pool.submit(_timed_apart, job, form, given).result()
        except BrokenProcessPool:
            return {"form": form, "reason": "its process was ended by the system"}, None
    return row, None if volume is None else torch.from_numpy(volume)


def _timed_apart(job: Job, form: str, first: Any) -> tuple[dict[str, Any], Any]:
    """As commands run: with their allocator."""
    import torch

    keep_freed_memory()
    prepare(job.device, job.repeats, job.threads)
    row, volume = _timed(job, form, None if first is None else torch.from_numpy(first))
    return row, None if volume is None else volume.cpu().numpy()


def _timed(job: Job, form: str, first: Tensor | None) -> tuple[dict[str, Any], Tensor | None]:
    """The row of a form, and its volume; None when it could not be made."""
    import torch

    torch.manual_seed(0)
    model = _model(job.preset, job.settings, job.device)
    mri = torch.rand(1, 1, *model.config.mri_shape, device=job.device)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            whole_float32(_precision(form, job.device) != "tf32"),
        ):
            run = _form(form, model, mri, Path(folder), job.batch, job.sampler, job.steps)
            return _row(form, run, first, job)
    except (Mri2petError, RuntimeError, ImportError) as error:
        reason = str(error).strip() or type(error).__name__
        return {"form": form, "reason": reason.splitlines()[0]}, None


def release_memory() -> None:
    """Frees the captured loops of an engine that nobody holds any more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was not used


def _precision(form: str, device: str) -> str:
    """What the form computes with: the authors' loop takes torch's default."""
    if form == "authors" and device.startswith("cuda"):
        return "tf32"
    return _parts(form)[1]


def _row(
    form: str, run: Callable[[], Tensor], first: Tensor | None, job: Job
) -> tuple[dict[str, Any], Tensor]:
    """The times of a form whose volume is that of `first`, and its volume."""
    volumes: list[Tensor] = []
    # The first run captures the CUDA graph, whose own memory no later run shows.
    extra = extra_bytes(lambda: volumes.append(run()), job.device)
    volume = volumes[0]
    like = volume if first is None else first.to(volume.device)
    difference = float((volume - like).norm() / like.norm())
    if not difference < LARGEST_DIFFERENCE[_precision(form, job.device)]:
        raise Mri2petError(f"it gives another volume: relative {difference:.1e}")
    start = time.perf_counter()
    run().cpu()
    slow = time.perf_counter() - start > SLOW_RUN_S
    repeats = SLOW_REPEATS if slow else job.repeats
    times = measure(run, job.device, repeats=repeats, warm_up=0)
    seconds = times["median_s"] / job.batch
    row = {
        "form": form,
        "precision": _precision(form, job.device),
        "seconds_per_volume": seconds,
        "seconds_per_evaluation": times["median_s"] / job.steps,
        "seconds_per_volume_of_999_steps": seconds / job.steps * 999,
        "volumes_per_minute": 60 / seconds,
        "extra_bytes": None if _parts(form)[0] in (*EXPORTED, "openvino") else extra,
        "relative_difference": difference,
        **times,
    }
    return row, volume


def _model(preset: str, settings: Sequence[str], device: str) -> Model:
    import torch

    from mri2pet.checkpoint import Model
    from mri2pet.nn import Network

    config = load_config(preset, settings).model
    network = Network(config).requires_grad_(False).eval().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return Model(network, config, 1.0, 0.5, name=preset)


def _form(
    form: str, model: Model, mri: Tensor, folder: Path, batch: int, sampler: str, steps: int
) -> Callable[[], Tensor]:
    from mri2pet.engines.sampling import sample

    if form == "authors":
        return lambda: _authors_loop(model, mri, batch, sampler, steps)
    engine = _engine(form, model, folder / form, batch)
    return lambda: sample(engine, mri, samples=batch, batch=batch, sampler=sampler, steps=steps)


def _parts(form: str) -> tuple[str, str]:
    """Engine and precision of a form."""
    engine, _, precision = form.partition("-")
    return engine, precision or "fp32"


def _engine(form: str, model: Model, folder: Path, batch: int) -> Engine:
    name, precision = _parts(form)
    if name == "torch":
        from mri2pet.engines.torch_engine import TorchEngine

        if precision == "tf32":
            if model.device.type != "cuda":
                raise UsageError("TF32 needs a GPU")
            return TorchEngine(model, tf32=True)
        return TorchEngine(model, precision)
    from mri2pet.bench.openvino_engine import OpenVinoEngine, load_openvino
    from mri2pet.export import export_onnx, export_tensorrt

    if name == "openvino":
        load_openvino()  # an export takes long
    export = export_tensorrt if name == "tensorrt" else export_onnx
    export(model, folder, precision=precision, batch=batch)
    if name == "openvino":
        return OpenVinoEngine(folder)
    return load_engine(folder, engine=name, device=model.device.type)


def _authors_loop(model: Model, mri: Tensor, batch: int, sampler: str, steps: int) -> Tensor:
    """The same sampler, every step in unfused torch with the MRI encoded again."""
    import torch

    from mri2pet.diffusion.loop import run_table
    from mri2pet.diffusion.samplers import make_table
    from mri2pet.ops.backend import use_backend

    table = make_table(sampler, model.config.prediction, steps)
    scans = mri.expand(batch, -1, -1, -1, -1)
    times = table.timesteps.to(mri.device)

    def denoise(x: Tensor, row: Tensor) -> Tensor:
        return model.diffusion(x, row[:, 0].long(), scans)

    with torch.inference_mode(), use_backend("reference"):
        guide = model.diffusion.guide(scans)
        return run_table(
            denoise,
            table,
            times[:, None, None].expand(-1, batch, 1).float(),
            model.config.pet_shape,
            seed=0,
            subjects=torch.zeros(batch, dtype=torch.int64),
            samples=torch.arange(batch),
            expected=model.diffusion.expected(guide),
        )


def format_sample(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        *describe(result["environment"]),
        f"{result['preset']}, batch {result['batch']}, {result['sampler']} with "
        f"{result['steps']} steps; seconds of {result['repeats']} runs ({SLOW_REPEATS} where one "
        f"takes over {SLOW_RUN_S:.0f} s)",
        "",
        f"{'form':<17}{'s/volume':>10}{'s/step':>9}{'999 steps':>11}{'vol/min':>9}{'median':>9}"
        f"{'min':>9}{'max':>9}{'extra MiB':>11}{'difference':>12}",
    ]
    for row in result["rows"]:
        if "reason" in row:
            lines.append(f"{row['form']:<17}  not timed: {row['reason']}")
            continue
        extra = row["extra_bytes"]
        memory = "-" if extra is None else f"{extra / 2**20:.0f}"
        lines.append(
            f"{row['form']:<17}{row['seconds_per_volume']:>10.4f}"
            f"{row['seconds_per_evaluation']:>9.4f}"
            f"{row['seconds_per_volume_of_999_steps']:>11.2f}{row['volumes_per_minute']:>9.2f}"
            f"{row['median_s']:>9.3f}{row['min_s']:>9.3f}{row['max_s']:>9.3f}{memory:>11}"
            f"{row['relative_difference']:>12.1e}"
        )
    return "\n".join(lines)
