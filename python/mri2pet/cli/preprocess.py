"""`mri2pet preprocess`: a T1, and its PET, in model space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri2pet.cli.options import DicomAcquisition, DicomEcho, DicomSeries, Extractor, Quiet

if TYPE_CHECKING:
    from mri2pet.imaging.files.reading import T1Image


def preprocess(
    t1: Annotated[
        Path, typer.Argument(help="T1-weighted MRI: an image, or a folder or zip of DICOM.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    pet: Annotated[
        Path | None, typer.Option(help="PET of the same person, of one or several frames.")
    ] = None,
    preset: Annotated[str, typer.Option(help="paper or compact: the grids.")] = "compact",
    reference: Annotated[
        str,
        typer.Option(
            metavar="cerebellum|minmax|FILE",
            help="What is 1 SUVR; FILE is a VOI in template space. minmax scales to 0 ... 1.",
        ),
    ] = "cerebellum",
    rigid: Annotated[
        bool, typer.Option("--rigid", help="Register PET to MRI rigidly, not with 12 parameters.")
    ] = False,
    brain_mask: Annotated[Path | None, typer.Option(help="Brain mask on the T1's grid.")] = None,
    skull_stripped: Annotated[
        bool, typer.Option("--skull-stripped", help="The T1 holds only brain.")
    ] = False,
    assume_ras: Annotated[
        bool, typer.Option("--assume-ras", help="Axes of an image without orientation are R, A, S.")
    ] = False,
    extractor: Extractor = "auto",
    series: DicomSeries = None,
    acquisition: DicomAcquisition = None,
    echo: DicomEcho = None,
    quiet: Quiet = False,
) -> None:
    """Bring a T1, and a PET of the same person, to the model's grids."""
    from mri2pet.dicom.reading import DicomInput, is_dicom
    from mri2pet.errors import UsageError
    from mri2pet.imaging.prepared_files import preprocess_files
    from mri2pet.stages import load_config

    def on_stage(name: str, seconds: float | None) -> None:
        if seconds is not None and not quiet:
            typer.echo(f"{name}: {seconds:.1f} s", err=True)

    model = load_config(preset).model
    image: Path | T1Image = t1
    if is_dicom(t1):
        dicom = DicomInput(t1, series, acquisition, echo)
        label, note = dicom.look()
        if note and not quiet:
            typer.echo(note, err=True)
        image = dicom.t1(label)
    elif (series, acquisition, echo) != (None, None, None):
        raise UsageError("--series, --acquisition and --echo choose within DICOM; none is given")
    done = preprocess_files(
        image,
        out,
        mri_shape=model.mri_shape,
        pet_shape=model.pet_shape,
        pet=pet,
        reference=reference,
        degrees_of_freedom=6 if rigid else 12,
        brain_mask=brain_mask,
        skull_stripped=skull_stripped,
        assume_ras=assume_ras,
        extractor=extractor,
        on_stage=on_stage,
    )
    for warning in (*done["warnings"], *(f"PET: {w}" for w in done.get("pet_warnings", ()))):
        typer.echo(f"warning: {warning}", err=True)
    for frame in done.get("pet_motion", []):
        rotation = max(map(abs, frame["rotation_deg"]))
        typer.echo(
            f"frame {frame['frame'] + 1}: moved {frame['displacement_mm']:.2f} mm, "
            f"turned {rotation:.2f} degrees"
        )
    if "pet_fit" in done:
        fit = done["pet_fit"]
        scaling = ", ".join(f"{scale:.3f}" for scale in fit["axis_scaling"])
        typer.echo(
            f"PET to T1: mutual information {fit['mutual_information']:.2f} nats, axes scaled by "
            f"{scaling}"
        )
    typer.echo(f"written to {out}")
