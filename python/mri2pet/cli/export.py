"""`mri2pet export`: the network as files that run without PyTorch's model code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

FORMATS = ("onnx", "tensorrt", "triton")
MODEL = "model"


class _ModelFirst(TyperGroup):
    """A group whose command `model` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [MODEL, *args]
        return super().parse_args(ctx, args)


export = typer.Typer(
    cls=_ModelFirst,
    help="Export a trained network to ONNX, TensorRT or a Triton model repository.\n\n"
    "`mri2pet export MODEL -o DIR` is short for `mri2pet export model MODEL -o DIR`.",
    no_args_is_help=True,
)


@export.command(MODEL)
def make(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A bundled model's name, a model or run folder; for triton an export as well.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the export.")],
    format: Annotated[
        str,
        typer.Option(
            metavar="|".join(FORMATS),
            help="onnx: for ONNX Runtime; tensorrt: plans for this machine's GPU as well; triton: "
            "a model repository of the Triton Inference Server, in the folder DIR.",
        ),
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16|mixed", help="Of convolutions and matrix products.")
    ] = "fp32",
    batch: Annotated[int, typer.Option(help="Volumes an evaluation takes.")] = 1,
) -> None:
    """Export a trained network and compare it with the model it comes from.

    Use it with `mri2pet synthesize --model DIR`. Needs the extra `onnx`, TensorRT `gpu` as well.
    """
    from mri2pet.errors import UsageError

    if format not in FORMATS:
        raise UsageError(f"--format {format}: choose one of {', '.join(FORMATS)}")
    from mri2pet.checkpoint import load_model
    from mri2pet.engines.exported import read_export
    from mri2pet.export import export_onnx, export_tensorrt

    if format == "triton":
        _triton(model, out, precision, batch)
        return
    loaded = load_model(model)
    write = export_tensorrt if format == "tensorrt" else export_onnx
    write(loaded, out, precision=precision, batch=batch)
    _tell(out, loaded.name, read_export(out).manifest["verification"][-1])


@export.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An export.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="What it was made from, if not a bundled model."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="onnxruntime|tensorrt", help="What evaluates the export.")
    ] = "onnxruntime",
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where the export runs.")
    ] = "auto",
) -> None:
    """Compare an export with the model it comes from, on this machine.

    The result goes to the export's manifest. TensorRT's plans are used only after they passed.
    """
    from mri2pet.checkpoint import bundled_models, load_model
    from mri2pet.devices import choose_device
    from mri2pet.engines.exported import read_export
    from mri2pet.errors import UsageError
    from mri2pet.export import verify_export

    name = model or str(read_export(folder).manifest["name"])
    if model is None and name not in bundled_models():
        raise UsageError(f"{folder}: was made from the model {name}; name it with --model PATH")
    place = "cuda" if engine == "tensorrt" and device == "auto" else choose_device(device)
    loaded = load_model(name)
    _tell(folder, loaded.name, verify_export(folder, loaded, engine=engine, device=place))


def _triton(model: str, repository: Path, precision: str, batch: int) -> None:
    import tempfile

    from mri2pet.checkpoint import bundled_models, load_model
    from mri2pet.engines.exported import PLANS, is_export
    from mri2pet.export import export_onnx
    from mri2pet.export.to_triton import export_triton

    if model not in bundled_models() and is_export(model):
        on_gpu = (Path(model) / PLANS).is_dir()
        engine, device = ("tensorrt", "cuda") if on_gpu else ("onnxruntime", "cpu")
        made = export_triton(model, repository, engine=engine, device=device)
    else:
        with tempfile.TemporaryDirectory() as folder:
            export = Path(folder) / "export"
            export_onnx(load_model(model), export, precision=precision, batch=batch)
            made = export_triton(export, repository)
    typer.echo(f"model repository: {repository}, model: {made.name}")


def _tell(folder: Path, name: str, entry: dict[str, Any]) -> None:
    difference = entry["relative_difference"]
    typer.echo(
        f"export: {folder}\nagrees with {name} in {entry['engine']}: relative difference "
        f"{difference['output']:.1e} of an evaluation, {difference['volume']:.1e} of a volume"
    )
