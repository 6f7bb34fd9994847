"""`mri2pet calibrate`: intervals of a model that hold, from people with a measured PET."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri2pet.cli.options import (
    SOME_FAILED,
    Cache,
    Jobs,
    Models,
    Quiet,
    Registration,
    TrainingData,
    TrainingRegistration,
    chosen,
)


def calibrate(
    data: Annotated[
        Path, typer.Option("--data", help="The cohort: BIDS folder, or table of cohort build.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the evaluation it is made from; goes on if stopped."
        ),
    ],
    model: Annotated[
        str | None, typer.Argument(help="A bundled model, a model folder or a run folder.")
    ] = None,
    models: Models = None,
    split: Annotated[
        str,
        typer.Option(metavar="val|test|all", help="Which people; all: the model saw none of them."),
    ] = "val",
    samples: Annotated[int, typer.Option(help="PETs drawn per person, as synthesize will.")] = 4,
    sampler: Annotated[
        str, typer.Option(metavar="dpmpp|ddim|ddpm", help="How to sample, as synthesize will.")
    ] = "dpmpp",
    steps: Annotated[
        int, typer.Option(help="Network evaluations per PET, as synthesize will.")
    ] = 25,
    seed: Annotated[int, typer.Option(help="Names the noise.")] = 0,
    registration: Registration = "estimate",
    reference: Annotated[
        str,
        typer.Option(metavar="cerebellum|FILE", help="What is 1 SUVR, as the model learnt it."),
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
    cohort_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How results call these people; default: the folder's or the table's name; "
            "'' for none.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Turn the spread of a model's samples into intervals, by people with a measured PET.

    Writes calibration.json beside the model (of an ensemble beside the first); synthesize with the
    same samples, sampler and steps then gives intervals. 90 % intervals need 9 people, 95 % 19,
    first scans alone.
    """
    from mri2pet.cli.progress import CohortBars
    from mri2pet.evaluation.settings import Sampling
    from mri2pet.uncertainty.calibrate import calibrate as run

    drawing = chosen(model, models)
    with CohortBars("drawing", quiet=quiet) as bars:
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
            cohort_name=cohort_name,
            on_event=bars.event,
        )
    typer.echo(result.table)
    typer.echo(f"written to {result.path}")
    if result.failures:
        typer.echo(
            f"{len(result.failures)} scans could not be drawn, see {out / 'failures.tsv'}", err=True
        )
        raise typer.Exit(SOME_FAILED)
