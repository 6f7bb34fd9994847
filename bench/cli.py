"""The command `mri2pet-bench`: each of its commands times one thing that exists."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mri2pet.errors import Mri2petError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Timings of mri2pet on this machine."
)


@app.callback()
def _commands() -> None:
    """Timings of mri2pet on this machine."""


@app.command()
def network(
    preset: Annotated[
        list[str] | None, typer.Option(help="Preset to time; may be given again.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; torch's choice if none.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Timed evaluations, at least 7.")] = 7,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
) -> None:
    """Time one network evaluation: median, min and max after a warm-up, and peak memory."""
    from mri2pet.bench.network import bench_network, format_table

    presets = preset or ["paper", "compact"]
    result = bench_network(presets, device=device, threads=threads, repeats=repeats)
    typer.echo(format_table(result))
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


@app.command()
def ops(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32, bfloat16 or float16; may be given again.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Timed calls, at least 7.")] = 7,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
) -> None:
    """Check each native op, then time it beside the paper's form in plain torch."""
    from mri2pet.bench.ops import bench_ops, format_ops

    result = bench_ops(device=device, dtypes=dtype or ["float32", "bfloat16"], repeats=repeats)
    typer.echo(format_ops(result))
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    """Runs the command; an error is one line on stderr and the exit code."""
    try:
        app()
    except Mri2petError as error:
        typer.echo(f"mri2pet-bench: error: {error}", err=True)
        sys.exit(error.exit_code)
