"""Time of a sampled volume, by engine, against the loop as the paper's authors run it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.bench.timing import (
    MINIMUM_REPEATS,
    describe,
    environment,
    extra_bytes,
    measure,
    prepare,
)
from mri2pet.config import load_config
from mri2pet.errors import Mri2petError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from mri2pet.checkpoint import Model

FORMS = ("authors", "torch", "torch-bf16", "torch-fp16", "onnxruntime")
LARGEST_DIFFERENCE = {"torch-bf16": 5e-2, "torch-fp16": 2e-2}  # relative
LARGEST_DIFFERENCE_FP32 = 1e-3


def bench_sample(
    preset: str = "compact",
    *,
    forms: Sequence[str] = ("authors", "torch", "onnxruntime"),
    device: str = "cpu",
    batch: int = 1,
    sampler: str = "dpmpp",
    steps: int = 5,
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
) -> dict[str, Any]:
    """Times whole sampling runs, with random weights; every form must give the same volume first.

    Forms: "authors" is the paper's loop as published (fp32, unfused plain torch, the MRI encoded
    again at every step), "torch" and "onnxruntime" are the engines in fp32, "torch-bf16" and
    "torch-fp16" (CUDA only) the torch engine in low precision.

    Returns:
        A JSON-ready tree: `environment` and `rows`, one a form, with seconds a volume and an
        evaluation, volumes a minute, median, min and max seconds of a run, what torch allocated
        at most during a run (ONNX Runtime allocates for itself: None), and the relative
        difference to the first form's volume.

    Raises:
        UsageError: an unknown form or preset, or numbers out of range.
        Mri2petError: two forms do not give the same volume; nothing more is timed.
    """
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"unknown form {form!r}; there are {', '.join(FORMS)}")
    if batch < 1:
        raise UsageError(f"batch {batch}: at least 1 volume is needed")
    import torch

    prepare(device, repeats, threads)

    torch.manual_seed(0)
    model = _model(preset, device)
    mri = torch.rand(1, 1, *model.config.mri_shape, device=device)
    rows: list[dict[str, Any]] = []
    first: Tensor | None = None
    with tempfile.TemporaryDirectory() as folder:
        for form in forms:
            run = _form(form, model, mri, Path(folder), batch, sampler, steps)
            volume = run()
            first = volume if first is None else first
            difference = float((volume - first).norm() / first.norm())
            if not difference < LARGEST_DIFFERENCE.get(form, LARGEST_DIFFERENCE_FP32):
                raise Mri2petError(
                    f"{form} does not give the volume of {forms[0]}: relative {difference:.1e}"
                )
            times = measure(run, device, repeats=repeats, warm_up=1)
            seconds = times["median_s"] / batch
            rows.append(
                {
                    "form": form,
                    "seconds_per_volume": seconds,
                    "seconds_per_evaluation": times["median_s"] / steps,
                    "volumes_per_minute": 60 / seconds,
                    "extra_bytes": None if form == "onnxruntime" else extra_bytes(run, device),
                    "relative_difference": difference,
                    **times,
                }
            )
    settings = {"preset": preset, "batch": batch, "sampler": sampler, "steps": steps}
    place = environment(device)
    return {"benchmark": "sample", **settings, "repeats": repeats, "environment": place} | {
        "rows": rows
    }


def _model(preset: str, device: str) -> Model:
    import torch

    from mri2pet.checkpoint import Model
    from mri2pet.nn import Network

    config = load_config(preset).model
    network = Network(config).requires_grad_(False).eval().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return Model(network, config, 1.0, 0.5, name=preset)


def _form(
    form: str, model: Model, mri: Tensor, folder: Path, batch: int, sampler: str, steps: int
) -> Callable[[], Tensor]:
    import torch

    from mri2pet.diffusion.loop import sample

    if form == "authors":
        return lambda: _authors_loop(model, mri, batch, sampler, steps)
    if form == "onnxruntime":
        from mri2pet.engines.onnxruntime_engine import OnnxRuntimeEngine
        from mri2pet.export import export_onnx

        export_onnx(model, folder / "export", batch=batch)
        engine: Any = OnnxRuntimeEngine(folder / "export", torch.device(model.device).type)
    else:
        from mri2pet.engines.torch_engine import TorchEngine

        engine = TorchEngine(model, form.partition("-")[2] or "fp32")
    return lambda: sample(engine, mri, samples=batch, batch=batch, sampler=sampler, steps=steps)


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
        return model.network(x, row[:, 0].long(), scans)

    with torch.inference_mode(), use_backend("reference"):
        return run_table(
            denoise,
            table,
            times[:, None, None].expand(-1, batch, 1).float(),
            model.config.pet_shape,
            seed=0,
            subjects=torch.zeros(batch, dtype=torch.int64),
            samples=torch.arange(batch),
        )


def format_sample(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        *describe(result["environment"]),
        f"{result['preset']}, float32, batch {result['batch']}, {result['sampler']} with "
        f"{result['steps']} steps; seconds of {result['repeats']} runs",
        "",
        f"{'form':<14}{'s/volume':>10}{'s/step':>9}{'vol/min':>9}{'median':>9}{'min':>9}{'max':>9}"
        f"{'extra MiB':>11}{'difference':>12}",
    ]
    for row in result["rows"]:
        extra = row["extra_bytes"]
        memory = "-" if extra is None else f"{extra / 2**20:.0f}"
        lines.append(
            f"{row['form']:<14}{row['seconds_per_volume']:>10.3f}"
            f"{row['seconds_per_evaluation']:>9.3f}{row['volumes_per_minute']:>9.2f}"
            f"{row['median_s']:>9.3f}{row['min_s']:>9.3f}{row['max_s']:>9.3f}{memory:>11}"
            f"{row['relative_difference']:>12.1e}"
        )
    return "\n".join(lines)
