"""`mri2pet evaluate`: a model and trivial rivals against the measured PETs of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

PARTIAL = 3


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundled model, a model folder or a run folder.")],
    data: Annotated[
        Path, typer.Option("--data", help="The cohort: BIDS folder, or table of cohort build.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    split: Annotated[
        str, typer.Option(metavar="train|val|test|all", help="Which subjects.")
    ] = "test",
    samples: Annotated[int, typer.Option(help="PETs drawn per subject.")] = 8,
    sampler: Annotated[
        str, typer.Option(metavar="dpmpp|ddim|ddpm", help="How to sample.")
    ] = "dpmpp",
    steps: Annotated[int, typer.Option(help="Network evaluations per PET.")] = 25,
    seed: Annotated[int, typer.Option(help="Names the noise.")] = 0,
    registration: Annotated[
        str,
        typer.Option(
            metavar="estimate|truth", help="truth: the transforms that a simulated cohort brings."
        ),
    ] = "estimate",
    reference: Annotated[
        str,
        typer.Option(metavar="cerebellum|FILE", help="What is 1 SUVR, as the model learnt it."),
    ] = "cerebellum",
    training_data: Annotated[
        Path | None,
        typer.Option(help="Fit the rivals to this cohort's training split; default: --data's."),
    ] = None,
    training_registration: Annotated[
        str, typer.Option(metavar="estimate|truth", help="As --registration, for --training-data.")
    ] = "estimate",
    limit: Annotated[int | None, typer.Option(help="Only the first so many scans.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Cohort in model space; default: beside the cohort.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes that prepare scans.")] = 1,
    batch: Annotated[
        int | None, typer.Option(help="PETs drawn at once; default: what is fastest.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare a model's PETs, and trivial rivals, with the measured PETs of a cohort."""
    from mri2pet.evaluation.evaluate import Sampling
    from mri2pet.evaluation.evaluate import evaluate as run

    with _Progress(quiet) as progress:
        result = run(
            model,
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
            on_event=progress.event,
        )
    typer.echo(result.table)
    typer.echo(f"written to {result.out}")
    if result.failures:
        typer.echo(
            f"{len(result.failures)} scans could not be evaluated, see "
            f"{result.out / 'failures.tsv'}",
            err=True,
        )
        raise typer.Exit(PARTIAL)


class _Progress:
    """Bars with an estimate on a terminal; failures alone elsewhere."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> _Progress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        """One scan is prepared or evaluated."""
        if kind not in self.tasks:
            title = "preparing scans" if kind == "prepare" else "evaluating"
            self.tasks[kind] = self.bars.add_task(title, total=facts["of"])
        self.bars.update(self.tasks[kind], completed=facts["done"])
        if facts["error"]:
            text = f"{facts['name']}: {facts['error']}"
            self.bars.console.print(text, highlight=False, markup=False, soft_wrap=True)
