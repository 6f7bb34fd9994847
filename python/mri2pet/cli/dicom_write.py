"""`mri2pet dicom synthesize`, `write` and `module`: what ends in DICOM files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri2pet.cli.options import (
    AtlasFile,
    AtlasNames,
    CentiloidName,
    DicomAcquisition,
    DicomEcho,
    DicomSeries,
    Extractor,
    Models,
    ReferenceVoi,
    TargetVoi,
    ThresholdText,
)
from mri2pet.cli.synthesize import (
    BrainMask,
    Device,
    EngineName,
    ModelName,
    Overwrite,
    Precision,
    Quiet,
    Sampler,
    Samples,
    Seed,
    SkullStripped,
    Steps,
    drawing,
)

if TYPE_CHECKING:
    from mri2pet.synthesis.dicom_series import DicomResult

In = Annotated[Path, typer.Argument(metavar="IN", help="Folder, zip or file.", show_default=False)]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder for the instances.", show_default=False)
]
Pet = Annotated[
    Path,
    typer.Argument(metavar="PET", help="The NIfTI of a result, with its sidecar beside it."),
]
Source = Annotated[Path, typer.Option("--source", metavar="IN", help="The T1's DICOM series.")]
Report = Annotated[
    str,
    typer.Option(metavar="pdf|sc|none", help="sc: a picture, for archives that take no PDF."),
]
Std = Annotated[bool, typer.Option("--std", help="A second series: the SD over the samples.")]
Nifti = Annotated[bool, typer.Option("--nifti", help="Keep the NIfTI result too.")]
Overlay = Annotated[
    bool, typer.Option("--overlay", help="SYNTHETIC in an overlay plane of every slice.")
]

# What the command does itself; every other option is an argument of `synthesize_series`.
OWN = ("source", "out", "models", "quiet")


def synthesize(
    context: typer.Context,
    source: In,
    out: Out,
    series: DicomSeries = None,
    acquisition: DicomAcquisition = None,
    echo: DicomEcho = None,
    report: Report = "pdf",
    std: Std = False,
    nifti: Nifti = False,
    overlay: Overlay = False,
    model: ModelName = "demo",
    models: Models = None,
    samples: Samples = 4,
    sampler: Sampler = "dpmpp",
    steps: Steps = 25,
    seed: Seed = 0,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = None,
    skull_stripped: SkullStripped = False,
    brain_mask: BrainMask = None,
    extractor: Extractor = "auto",
    overwrite: Overwrite = False,
    atlas: AtlasFile = None,
    labels: AtlasNames = None,
    target: TargetVoi = None,
    reference: ReferenceVoi = None,
    centiloid: CentiloidName = None,
    threshold: ThresholdText = None,
    quiet: Quiet = False,
) -> None:
    """Synthesise a PET series from a T1 series, in the same study.

    OUT gets a flat folder of instances: PET, and a report. Running it again makes nothing twice.

    Research software, not a medical device. This image was predicted from an MRI: no tracer was
    given and no amyloid was measured.
    """
    from mri2pet.cli.progress import watch
    from mri2pet.synthesis.dicom_series import synthesize_series

    choices = {name: value for name, value in context.params.items() if name not in OWN}
    choices["model"] = drawing(context, model, models)
    with watch(quiet=quiet) as observer:
        result = synthesize_series(source, out, observer=observer, **choices)
    if not quiet:
        typer.echo(f"{_line(result)} in {out}")


def write(
    pet: Pet,
    out: Out,
    source: Source,
    series: DicomSeries = None,
    acquisition: DicomAcquisition = None,
    echo: DicomEcho = None,
    report: Report = "pdf",
    std: Std = False,
    overlay: Overlay = False,
    quiet: Quiet = False,
) -> None:
    """Write a PET that `mri2pet synthesize` made as DICOM, beside the series of its T1."""
    from mri2pet.synthesis.dicom_series import write_series

    result = write_series(
        pet,
        source,
        out,
        series=series,
        acquisition=acquisition,
        echo=echo,
        report=report,
        std=std,
        overlay=overlay,
    )
    if not quiet:
        typer.echo(result.took, err=True)
        typer.echo(f"{_line(result)} in {out}")


def module() -> None:
    """Synthesise inside a container of mercure or MONAI Deploy, which name the folders.

    MERCURE_IN_DIR and MERCURE_OUT_DIR, or HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH; settings
    from process.settings of task.json.
    """
    from mri2pet.synthesis.dicom_module import run_module

    typer.echo(_line(run_module(os.environ)))


def _line(result: DicomResult) -> str:
    """How many files there are; nothing of a header."""
    state = "already done:" if result.status == "skipped" else "wrote"
    return f"{state} {len(result.files)} instances"
