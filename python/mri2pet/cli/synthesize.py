"""`mri2pet synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri2pet.cli.options import (
    SOME_FAILED,
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
    chosen,
)

if TYPE_CHECKING:
    from mri2pet.synthesis import SynthesisResult

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="T1... | FOLDER",
        help="T1-weighted images (NIfTI, MGZ, Analyze), or a folder: its *_T1w images, "
        "else all NIfTI and MGZ images in it, else the T1 among its DICOM files; or a zip archive "
        "or an Enhanced file of DICOM.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT", help="Output folder.", show_default=False)
]
ModelName = Annotated[
    str, typer.Option(metavar="demo|PATH", help="A bundled model, a model, run or export folder.")
]
Samples = Annotated[int, typer.Option(help="Volumes to draw; their mean is the PET.")]
Sampler = Annotated[str, typer.Option(metavar="dpmpp|ddim|ddpm", help="How to sample.")]
Steps = Annotated[int, typer.Option(help="Network evaluations per sample, 1 to 999.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same volumes.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")]
EngineName = Annotated[
    str,
    typer.Option("--engine", metavar="auto|torch|onnxruntime|tensorrt", help="What evaluates it."),
]
Precision = Annotated[
    str | None,
    typer.Option(metavar="fp32|bf16|fp16", help="Of the torch engine; fp32 if not given."),
]
SkullStripped = Annotated[
    bool, typer.Option("--skull-stripped", help="The images show the brain alone.")
]
BrainMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A brain mask on the grid of the one image.")
]
AssumeRas = Annotated[
    bool, typer.Option("--assume-ras", help="Take an image without an affine as RAS+.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Redo subjects that are done.")]
Jobs = Annotated[
    int,
    typer.Option(help="Processes that prepare images while the network works; 1.5 GiB each."),
]
OnRay = Annotated[
    str, typer.Option(metavar="local|ADDRESS", help="Do everything on a Ray cluster.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
MemoryPlan = Annotated[
    bool, typer.Option("--memory-plan", help="Say what memory sampling needs, and stop.")
]

# What the command does itself. Every other option has the name of an argument of
# `mri2pet.synthesize` and goes there as it is; `--models` takes the place of `--model`.
OWN = ("images", "out", "models", "memory_plan", "quiet")


def synthesize(
    context: typer.Context,
    images: Images,
    out: Out,
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
    assume_ras: AssumeRas = False,
    extractor: Extractor = "auto",
    overwrite: Overwrite = False,
    atlas: AtlasFile = None,
    labels: AtlasNames = None,
    target: TargetVoi = None,
    reference: ReferenceVoi = None,
    centiloid: CentiloidName = None,
    threshold: ThresholdText = None,
    jobs: Jobs = 1,
    ray: OnRay = "",
    series: DicomSeries = None,
    acquisition: DicomAcquisition = None,
    echo: DicomEcho = None,
    memory_plan: MemoryPlan = False,
    quiet: Quiet = False,
) -> None:
    """Synthesise an AV45 PET volume in SUVR from each T1-weighted MRI.

    Writes OUT/SUBJECT/ with the mean and the spread of the samples on the grid of the MRI, a
    JSON sidecar and report.html. Subjects that are done are skipped; those that fail are listed
    in OUT/failures.tsv and the rest go on.

    Research software, not a medical device. This image was predicted from an MRI: no tracer was
    given and no amyloid was measured.
    """
    named = drawing(context, model, models)
    if memory_plan:
        typer.echo(_memory_plan(named, engine, device))
        return
    from mri2pet.cli.progress import watch
    from mri2pet.synthesis import synthesize as run

    choices = {name: value for name, value in context.params.items() if name not in OWN}
    choices["model"] = named
    with watch(quiet=quiet) as observer:
        results = run(list(images), out, observer=observer, **choices)
    failed = [result for result in results if result.status == "failed"]
    if failed:
        _tell(failed, len(results), out)
        raise typer.Exit(1 if len(failed) == len(results) else SOME_FAILED)


def drawing(context: typer.Context, model: str, models: list[str] | None) -> str | list[str]:
    """What `--model` or `--models` name; the default of `--model` gives way."""
    source = context.get_parameter_source("model")
    is_default = source is not None and source.name == "DEFAULT"
    return chosen(None if models and is_default else model, models, "--model")


def _memory_plan(model: str | list[str], engine: str, device: str) -> str:
    from mri2pet.devices import choose_device
    from mri2pet.engines.choose import load_engine
    from mri2pet.engines.ensemble import memory_plan

    return memory_plan(load_engine(model, engine=engine, device=choose_device(device))).text()


def _tell(failed: list[SynthesisResult], total: int, out: Path) -> None:
    from mri2pet.synthesis.outputs import FAILURES

    print(
        f"mri2pet: error: {len(failed)} of {total} images failed; see {out / FAILURES}",
        file=sys.stderr,
    )
