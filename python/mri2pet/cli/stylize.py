"""`mri2pet stylize`: the MRIs of a cohort become PET-like, for pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri2pet.cli.options import SOME_FAILED, Cache, Jobs, Quiet, Registration
from mri2pet.errors import UsageError

AUTO = "auto"


def stylize(
    data: Annotated[
        Path, typer.Argument(help="The cohort: BIDS folder, or table of cohort build.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the volumes; the same command resumes.")
    ],
    preset: Annotated[str, typer.Option(help="paper or compact: the grids.")] = "compact",
    vgg_weights: Annotated[
        Path | None, typer.Option(help="A known weights file, as torchvision's vgg19-dcbb9e9d.pth.")
    ] = None,
    vgg_sha256: Annotated[
        str | None, typer.Option(help="SHA-256 of another weights file, or its beginning.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch torchvision's weights.")
    ] = False,
    random_vgg: Annotated[
        bool, typer.Option("--random-vgg", help="Random weights: for a test, not for training.")
    ] = False,
    style: Annotated[
        str, typer.Option(metavar="random|mean", help="A random training PET each, or their mean.")
    ] = "random",
    seed: Annotated[int, typer.Option(help="Names the choice of style images.")] = 0,
    steps: Annotated[int, typer.Option(help="L-BFGS steps per slice.")] = 100,
    style_weight: Annotated[
        str,
        typer.Option(
            metavar="auto|NUMBER",
            help="Weight of the style; auto: what goes with the weights file, else 1000.",
        ),
    ] = "auto",
    content_weight: Annotated[float, typer.Option(help="Weight of the content.")] = 1.0,
    slices_at_once: Annotated[
        int | None, typer.Option(help="Slices in one batch; all if none.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="train|val|test|all", help="Which MRIs.")] = "train",
    limit: Annotated[int | None, typer.Option(help="Only the first so many MRIs.")] = None,
    registration: Registration = "estimate",
    reference: Annotated[
        str,
        typer.Option(
            metavar="cerebellum|minmax|FILE", help="As data.reference of the training to come."
        ),
    ] = "cerebellum",
    cache: Cache = None,
    jobs: Jobs = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="local|ADDRESS", help="Do all of it on a Ray cluster."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where VGG19 runs.")
    ] = "auto",
    quiet: Quiet = False,
) -> None:
    """Make the MRIs of a cohort look like PETs, by neural style transfer."""
    from mri2pet.cli.progress import CohortBars
    from mri2pet.style.run import run_stylize
    from mri2pet.style.transfer import StyleOptions
    from mri2pet.style.vgg import style_weight_of
    from mri2pet.weights import WeightsOrigin

    with CohortBars("style transfer", quiet=quiet) as bars:
        result = run_stylize(
            data,
            out,
            preset=preset,
            weights=vgg_weights,
            sha256=vgg_sha256,
            download=download,
            random=random_vgg,
            options=StyleOptions(steps, _weight(style_weight), content_weight, slices_at_once),
            style=style,
            seed=seed,
            split=None if split == "all" else split,
            limit=limit,
            registration=registration,
            reference=reference,
            cache=cache,
            jobs=jobs,
            ray=ray,
            device=device,
            on_event=bars.event,
        )
    used = result.settings["style_weight"]
    typer.echo(f"{len(result.done)} PET-like MRIs in {result.root}, style weight {used:g}")
    origin = WeightsOrigin(**result.settings["vgg"])
    if style_weight == AUTO and origin.pretrained and style_weight_of(origin) is None:
        text = f"no style weight is known for {origin.source}: the paper's is used; its features "
        typer.echo(f"{text}may have another scale, so look at the volumes", err=True)
    if random_vgg:
        typer.echo("random VGG19 weights: for a test, not for training", err=True)
    if result.failures:
        typer.echo(f"{len(result.failures)} failed, see {result.root / 'failures.tsv'}", err=True)
        raise typer.Exit(SOME_FAILED)


def _weight(text: str) -> float | None:
    try:
        return None if text == AUTO else float(text)
    except ValueError:
        raise UsageError(f"--style-weight: {text!r} is neither a number nor {AUTO}.") from None
