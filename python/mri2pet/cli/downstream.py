"""`mri2pet downstream`: diagnosis and MMSE from measured and synthetic images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri2pet.cli.options import Cache, Jobs, Quiet, Registration


def downstream(
    data: Annotated[
        Path, typer.Argument(help="The cohort: BIDS folder, or table of cohort build.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    model: Annotated[
        str | None, typer.Option(help="Whose PETs: the folder of its training run.")
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="diagnosis|binary|mmse", help="What is predicted.")
    ] = "diagnosis",
    settings: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Rows; default: table, those of the paper's table."),
    ] = "",
    seeds: Annotated[int, typer.Option(help="Networks of each setting.")] = 25,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Also as the paper's authors do it.")
    ] = False,
    crossfit: Annotated[
        int,
        typer.Option(metavar="K", help="Train K more models, so that none draws who trained it."),
    ] = 0,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="The model has seen nobody of this cohort.")
    ] = False,
    mmse_min: Annotated[float, typer.Option(help="Leave out lower scores; 0 for none.")] = 20,
    class_weights: Annotated[
        str, typer.Option(metavar="none|balanced", help="How classes weigh in the loss.")
    ] = "none",
    sampler: Annotated[
        str, typer.Option(metavar="dpmpp|ddim|ddpm", help="How to draw PETs.")
    ] = "dpmpp",
    steps: Annotated[int, typer.Option(help="Network evaluations per PET.")] = 25,
    registration: Registration = "estimate",
    reference: Annotated[
        str,
        typer.Option(metavar="cerebellum|FILE", help="What is 1 SUVR, as the model learnt it."),
    ] = "cerebellum",
    cache: Cache = None,
    jobs: Jobs = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="local|ADDRESS", help="Work on a Ray cluster.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where networks run.")
    ] = "auto",
    quiet: Quiet = False,
) -> None:
    """Tell diagnosis or MMSE from MRIs, measured PETs and drawn PETs: the paper's Tables 2 and 3.

    Nobody of the test split trains, not the model that draws either. The same command goes on
    where it was stopped, and more seeds are added to what is there.
    """
    from mri2pet.cli.progress import CohortBars
    from mri2pet.downstream.plan import Options
    from mri2pet.downstream.run import downstream as run
    from mri2pet.downstream.training import Fit
    from mri2pet.evaluation.settings import Sampling

    options = Options(
        settings=tuple(name.strip() for name in settings.split(",") if name.strip()),
        seeds=seeds,
        as_paper=as_paper,
        unseen=unseen,
        crossfit=crossfit,
        mmse_min=mmse_min,
        fit=Fit(class_weights=class_weights),  # type: ignore[arg-type]
        sampling=Sampling(1, sampler, steps),
        jobs=jobs,
        ray=ray,
        cache=cache,
        registration=registration,
        reference=reference,
        device=device,
    )
    with CohortBars("training networks", quiet=quiet) as bars:
        result = run(data, out, task=task, model=model, options=options, on_event=bars.event)
    typer.echo(result.table)
    typer.echo(f"written to {', '.join(str(path) for path in result.files)}")
