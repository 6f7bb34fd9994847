"""The command `mri2pet-bench`: each of its commands times one thing that exists."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mri2pet.allocator import keep_freed_memory
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.openmp import suit_the_load
from mri2pet.quiet import quiet_libraries

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Timings of mri2pet on this machine."
)

Presets = Annotated[list[str] | None, typer.Option(help="paper or compact; may be given again.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Dtypes = Annotated[
    list[str] | None, typer.Option(help="float32, bfloat16 or float16; may be given again.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting, section.key=value; may be given again. ops.backend=folded compares with "
        "the folded plain-torch form, ops.backend=reference with the paper's.",
    ),
]
LikeForLike = Annotated[
    bool,
    typer.Option(help="Plain torch in the dtype and layout of the native form, not the paper's."),
]
Batch = Annotated[int, typer.Option(min=1, help="Volumes at once.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; torch's choice if none.")]
Repeats = Annotated[int, typer.Option(help="Timed samples of each form, at least 7.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]


@app.callback()
def _commands() -> None:
    """Timings of mri2pet on this machine."""


def _network(presets: list[str], **options: Any) -> dict[str, Any]:
    from mri2pet.bench.network import bench_network

    return bench_network(presets, **options)


def _step(presets: list[str], **options: Any) -> dict[str, Any]:
    from mri2pet.bench.step import bench_step

    return bench_step(presets, **options)


def _add_forms(name: str, what: str, run: Callable[..., dict[str, Any]], dtypes: list[str]) -> None:
    """Adds a command that times one thing in two forms; both such commands take the same."""

    @app.command(name, help=f"{what}, native beside plain torch: times, memory, share of each op.")
    def command(
        preset: Presets = None,
        settings: Settings = None,
        device: Device = "cpu",
        dtype: Dtypes = None,
        batch: Batch = 1,
        like_for_like: LikeForLike = False,
        threads: Threads = None,
        repeats: Repeats = 7,
        json_file: JsonFile = None,
    ) -> None:
        from mri2pet.bench.forms import format_rows

        result = run(
            preset or ["paper", "compact"],
            settings=settings or (),
            device=device,
            dtypes=dtype or dtypes,
            batch=batch,
            like_for_like=like_for_like,
            threads=threads,
            repeats=repeats,
        )
        _show(format_rows(result), result, json_file)


_add_forms("network", "One network evaluation", _network, ["float32"])
_add_forms("step", "One training step", _step, ["float32", "bfloat16"])


@app.command()
def sample(
    preset: Annotated[str, typer.Option(help="paper or compact.")] = "compact",
    form: Annotated[
        list[str] | None,
        typer.Option(
            help="authors, torch, torch-bf16, torch-tf32 or torch-fp16 (CUDA), onnxruntime, "
            "tensorrt, or openvino; "
            "may be given again. Default: all that the device has."
        ),
    ] = None,
    settings: Settings = None,
    device: Device = "cpu",
    batch: Batch = 1,
    sampler: Annotated[str, typer.Option(help="dpmpp, ddim or ddpm.")] = "dpmpp",
    steps: Annotated[int, typer.Option(help="Network evaluations, 1 to 999.")] = 5,
    threads: Threads = None,
    repeats: Repeats = 7,
    json_file: JsonFile = None,
) -> None:
    """Whole sampling runs by engine, beside the paper's loop as its authors run it.

    On the CPU each form runs in a process of its own.
    """
    from mri2pet.bench.sample import bench_sample, default_forms, format_sample

    result = bench_sample(
        preset,
        forms=form or default_forms(device),
        settings=settings or (),
        device=device,
        batch=batch,
        sampler=sampler,
        steps=steps,
        threads=threads,
        repeats=repeats,
        apart=not device.startswith("cuda"),
        on_row=lambda so_far: _write(so_far, json_file),
    )
    _show(format_sample(result), result, json_file)


@app.command()
def report(
    model: Annotated[str, typer.Argument(help="A model, a run or an export.")],
    data: Annotated[Path, typer.Option(help="A BIDS cohort that the model has never seen.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the report; resumes.")],
    point: Annotated[
        list[str] | None,
        typer.Option(help="SAMPLER:STEPS, e.g. dpmpp:25; may be given again. Default: 5 to 999."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Scans to take.")] = 16,
    registration: Annotated[str, typer.Option(help="estimate or truth.")] = "estimate",
    engine: Annotated[str, typer.Option(help="auto, torch or onnxruntime.")] = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    jobs: Annotated[int, typer.Option(help="Scans prepared at once.")] = 1,
) -> None:
    """Quality against time and memory: steps and samplers on simulated people."""
    from mri2pet.bench.report import POINTS, bench_report
    from mri2pet.bench.report_figure import draw_report, format_report
    from mri2pet.bench.timing import MINIMUM_REPEATS, prepare

    prepare(device, MINIMUM_REPEATS, threads)
    result = bench_report(
        model,
        data=data,
        out=out,
        points=[_point(text) for text in point] if point else POINTS,
        limit=limit,
        registration=registration,
        engine=engine,
        device=device,
        jobs=jobs,
        on_volume=_show_volumes,
    )
    draw_report(result, out / "report.png")
    (out / "report.md").write_text(format_report(result))
    typer.echo(format_report(result))


def _point(text: str) -> tuple[str, int]:
    sampler, _, steps = text.partition(":")
    if not steps.isdigit():
        raise UsageError(f"point {text!r} must read SAMPLER:STEPS, e.g. dpmpp:25")
    return sampler, int(steps)


def _show_volumes(done: int, of: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\rvolume {done} of {of}", err=True, nl=done == of)


@app.command()
def ops(
    device: Device = "cpu",
    dtype: Dtypes = None,
    scale: Annotated[int, typer.Option(help="1, 2 or 4: divides I and J of every size.")] = 1,
    threads: Threads = None,
    repeats: Repeats = 7,
    json_file: JsonFile = None,
) -> None:
    """Check each native op, then time it beside the paper's form in plain torch."""
    from mri2pet.bench.ops import bench_ops, format_ops, raise_unless_timed

    dtypes = dtype or ["float32", "bfloat16"]
    result = bench_ops(
        device=device,
        dtypes=dtypes,
        threads=threads,
        repeats=repeats,
        scale=scale,
        on_row=lambda so_far: _write(so_far, json_file),
    )
    _show(format_ops(result), result, json_file)
    raise_unless_timed(result)


@app.command()
def convolution(
    preset: Annotated[str, typer.Option(help="paper or compact.")] = "paper",
    device: Device = "cuda",
    dtype: Annotated[
        list[str] | None, typer.Option(help="float16 or bfloat16; may be given again.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Volumes at once; may be given again.")
    ] = None,
    repeats: Repeats = 7,
    json_file: JsonFile = None,
) -> None:
    """Check and time every tile of the small-channel convolution beside the library's (CUDA)."""
    from mri2pet.bench.convolution import (
        bench_convolution,
        format_convolution,
        raise_unless_right,
    )

    result = bench_convolution(
        preset,
        device=device,
        dtypes=dtype or ["float16"],
        batches=batch or [1],
        repeats=repeats,
        on_row=lambda so_far: _write(so_far, json_file),
    )
    _show(format_convolution(result), result, json_file)
    raise_unless_right(result)


@app.command()
def winograd(
    preset: Annotated[str, typer.Option(help="paper or compact.")] = "paper",
    threads: Threads = None,
    repeats: Repeats = 7,
    json_file: JsonFile = None,
) -> None:
    """Check and time Winograd's convolution beside the library's at every layer (CPU, float32)."""
    from mri2pet.bench.winograd import bench_winograd, format_winograd

    result = bench_winograd(
        preset,
        threads=threads,
        repeats=repeats,
        on_row=lambda so_far: _write(so_far, json_file),
    )
    _show(format_winograd(result), result, json_file)


def _show(text: str, result: dict[str, Any], json_file: Path | None) -> None:
    typer.echo(text)
    _write(result, json_file)


def _write(result: dict[str, Any], json_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    """Runs the command; an error is one line on stderr and the exit code."""
    keep_freed_memory()
    suit_the_load()
    quiet_libraries()
    try:
        app()
    except Mri2petError as error:
        typer.echo(f"mri2pet-bench: error: {error}", err=True)
        sys.exit(error.exit_code)
