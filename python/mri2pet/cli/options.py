"""Options and the exit code that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SOME_FAILED = 3

Registration = Annotated[
    str,
    typer.Option(
        metavar="estimate|truth", help="truth: the transforms that a simulated cohort brings."
    ),
]
TrainingData = Annotated[
    Path | None,
    typer.Option(help="Fit the rivals to this cohort's training split; default: --data's."),
]
TrainingRegistration = Annotated[
    str, typer.Option(metavar="estimate|truth", help="As --registration, for --training-data.")
]
Cache = Annotated[
    Path | None, typer.Option(help="Cohort in model space; default: beside the cohort.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes that prepare scans.")]
Extractor = Annotated[
    str,
    typer.Option(
        metavar="auto|template|deepbet|hd-bet",
        help="How to find the brain. auto: by the template, and by deepbet where that is "
        "installed and the template's mask fails or reaches into bright fat.",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        metavar="MODEL",
        help="An ensemble in the place of one model: once for each; sample k is drawn by model k "
        "mod their number.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
DicomSeries = Annotated[
    int | None,
    typer.Option("--series", metavar="N", help="Of DICOM: the number that `dicom list` shows."),
]
DicomAcquisition = Annotated[
    str | None,
    typer.Option("--acquisition", metavar="N", help="Of DICOM: one AcquisitionNumber."),
]
DicomEcho = Annotated[
    str | None,
    typer.Option("--echo", metavar="N", help="Of DICOM: one echo number (Enhanced: its ms)."),
]
AtlasFile = Annotated[
    Path | None,
    typer.Option("--atlas", metavar="FILE", help="Integer labels in template (MNI) space."),
]
AtlasNames = Annotated[
    Path | None,
    typer.Option("--labels", metavar="TSV", help="Names of the labels: columns index, name."),
]
TargetVoi = Annotated[
    Path | None,
    typer.Option("--target", metavar="FILE", help="Cortical VOI in template space."),
]
ReferenceVoi = Annotated[
    Path | None,
    typer.Option("--reference", metavar="FILE", help="Reference VOI, together with --target."),
]
CentiloidName = Annotated[
    str | None,
    typer.Option(
        "--centiloid",
        metavar="royse2021-fbp|navitsky2018-avid|navitsky2018-standard|custom=FILE",
        help="Add Centiloid by this equation, marked as uncalibrated.",
    ),
]
ThresholdText = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="NAME=SUVR",
        help="Add the probability that a measured PET would exceed it.",
    ),
]


def chosen(model: str | None, models: list[str] | None, name: str = "MODEL") -> str | list[str]:
    """The one model or those of an ensemble.

    Args:
        name: of the argument or option that names one.

    Raises:
        UsageError: both are given, or none.
    """
    from mri2pet.errors import UsageError

    if (model is None) is not bool(models):
        raise UsageError(f"give {name}, or --models once for each model of an ensemble, not both")
    return models or str(model)
