"""`mri2pet evaluate`: a model and trivial rivals against the measured PETs of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri2pet.cli.options import (
    SOME_FAILED,
    AtlasFile,
    AtlasNames,
    Cache,
    CentiloidName,
    Jobs,
    Models,
    Quiet,
    Registration,
    TargetVoi,
    ThresholdText,
    TrainingData,
    TrainingRegistration,
    chosen,
)


def evaluate(
    data: Annotated[
        Path, typer.Option("--data", help="The cohort: BIDS folder, or table of cohort build.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    model: Annotated[
        str | None, typer.Argument(help="A bundled model, a model folder or a run folder.")
    ] = None,
    models: Models = None,
    split: Annotated[
        str, typer.Option(metavar="train|val|test|all", help="Which subjects.")
    ] = "test",
    samples: Annotated[int, typer.Option(help="PETs drawn per subject.")] = 8,
    sampler: Annotated[
        str, typer.Option(metavar="dpmpp|ddim|ddpm", help="How to sample.")
    ] = "dpmpp",
    steps: Annotated[int, typer.Option(help="Network evaluations per PET.")] = 25,
    seed: Annotated[int, typer.Option(help="Names the noise.")] = 0,
    registration: Registration = "estimate",
    reference: Annotated[
        str,
        typer.Option(
            metavar="cerebellum|FILE",
            help="What is 1 SUVR, as the model learnt it; with --target the reference VOI.",
        ),
    ] = "cerebellum",
    training_data: TrainingData = None,
    training_registration: TrainingRegistration = "estimate",
    limit: Annotated[int | None, typer.Option(help="Only the first so many scans.")] = None,
    cache: Cache = None,
    jobs: Jobs = 1,
    batch: Annotated[
        int | None, typer.Option(help="PETs drawn at once; default: what is fastest.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")
    ] = "auto",
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Also figures as the paper's authors compute them.")
    ] = False,
    inception_weights: Annotated[
        Path | None, typer.Option(help="torchvision's Inception v3 file, for FID and KID.")
    ] = None,
    inception_sha256: Annotated[
        str | None, typer.Option(help="Of another file than torchvision's.")
    ] = None,
    download_inception: Annotated[
        bool, typer.Option("--download-inception", help="Fetch torchvision's file.")
    ] = False,
    random_inception: Annotated[
        bool, typer.Option("--random-inception", help="Random weights: for a test alone.")
    ] = False,
    inception_every: Annotated[int, typer.Option(help="Take every so-manieth slice.")] = 1,
    atlas: AtlasFile = None,
    labels: AtlasNames = None,
    target: TargetVoi = None,
    centiloid: CentiloidName = None,
    threshold: ThresholdText = None,
    quiet: Quiet = False,
) -> None:
    """Compare a model's PETs, and trivial rivals, with the measured PETs of a cohort."""
    from mri2pet.cli.progress import CohortBars
    from mri2pet.evaluation.evaluate import evaluate as run
    from mri2pet.evaluation.features import FeatureOptions
    from mri2pet.evaluation.settings import Sampling
    from mri2pet.quantification import Quantification
    from mri2pet.uncertainty.evaluated import check_calibration, write_uncertainty

    drawing = chosen(model, models)
    what = Quantification.asked(
        atlas=atlas,
        labels=labels,
        target=target,
        reference=None if target is None or reference == "cerebellum" else reference,
        centiloid=centiloid,
        threshold=threshold,
    )
    features = None
    asked = (inception_weights, inception_sha256, download_inception, random_inception)
    if any(asked) or inception_every != 1:
        features = FeatureOptions(
            inception_weights,
            inception_sha256,
            download_inception,
            random_inception,
            inception_every,
        )
    check_calibration(drawing)
    with CohortBars("evaluating", quiet=quiet) as bars:
        result = run(
            drawing,
            data=data,
            out=out,
            split=split,
            sampling=Sampling(samples, sampler, steps, seed, batch),
            registration=registration,
            reference=reference,
            training_data=training_data,
            training_registration=training_registration,
            limit=limit,
            cache=cache,
            jobs=jobs,
            device=device,
            features=features,
            as_paper=as_paper,
            what=what,
            on_event=bars.event,
        )
    typer.echo(result.table)
    typer.echo(f"written to {result.out}")
    line = write_uncertainty(
        result.out,
        drawing,
        training_data=data if training_data is None else training_data,
        training_registration=registration if training_data is None else training_registration,
        reference=reference,
        cache=cache,
        what=what,
    )
    typer.echo(line)
    if what is not None:
        typer.echo(f"regions of measured and synthetic PETs: {result.out / 'regions.tsv'}")
    if result.failures:
        typer.echo(
            f"{len(result.failures)} scans could not be evaluated, see "
            f"{result.out / 'failures.tsv'}",
            err=True,
        )
        raise typer.Exit(SOME_FAILED)
