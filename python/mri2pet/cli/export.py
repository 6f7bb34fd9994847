"""`mri2pet export`: the network as ONNX files that run without PyTorch's model code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundled model's name, a model or run folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the export.")],
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16", help="Of convolutions and matrix products.")
    ] = "fp32",
    batch: Annotated[int, typer.Option(help="Volumes an evaluation takes.")] = 1,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare an export in DIR with MODEL again, here.")
    ] = False,
) -> None:
    """Export a trained network to ONNX and compare it with the model it comes from.

    Use it with `mri2pet synthesize --model DIR`. Needs the extra `onnx`.
    """
    from mri2pet.checkpoint import load_model
    from mri2pet.export import export_onnx, verify_export

    loaded = load_model(model)
    if verify:
        entry = verify_export(out, loaded)
    else:
        from mri2pet.engines.exported import read_export

        export_onnx(loaded, out, precision=precision, batch=batch)
        entry = read_export(out).manifest["verification"][-1]
    difference = entry["relative_difference"]
    typer.echo(
        f"export: {out}\nagrees with {loaded.name} in {entry['engine']}: relative difference "
        f"{difference['output']:.1e} of an evaluation, {difference['volume']:.1e} of a volume"
    )
