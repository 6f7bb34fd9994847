"""`mri2pet convert`: the authors' checkpoint in this project's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pt file.")],
    model_dir: Annotated[Path, typer.Argument(help="Folder for the converted model.")],
    mri_shape: Annotated[
        str, typer.Option(metavar="K,I,J", help="Grid of the MRI it was trained on.")
    ] = "64,144,144",
    pet_shape: Annotated[
        str, typer.Option(metavar="K,I,J", help="Grid of the PET it was trained on.")
    ] = "32,128,128",
    pet_mean: Annotated[float, typer.Option(help="Mean of its training PET.")] = 0.0,
    pet_std: Annotated[float, typer.Option(help="Standard deviation of its training PET.")] = 1.0,
) -> None:
    """Turn the MRI2PET authors' checkpoint into a model folder (nothing is unpickled unsafely)."""
    from mri2pet.convert import convert_authors_checkpoint

    folder = convert_authors_checkpoint(
        checkpoint,
        model_dir,
        mri_shape=_shape(mri_shape, "--mri-shape"),
        pet_shape=_shape(pet_shape, "--pet-shape"),
        pet_mean=pet_mean,
        pet_std=pet_std,
    )
    typer.echo(f"model: {folder}")


def _shape(text: str, option: str) -> tuple[int, int, int]:
    from mri2pet.errors import UsageError

    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"{option} takes three numbers K,I,J, not {text!r}")
    k, i, j = (int(part) for part in parts)
    return k, i, j
