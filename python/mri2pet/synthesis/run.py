"""`mri2pet.synthesize`: all subjects of one call, with the model loaded once."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from mri2pet import background
from mri2pet.devices import choose_device
from mri2pet.errors import ModelError, UsageError
from mri2pet.synthesis.drawing import Drawer
from mri2pet.synthesis.inputs import SubjectInput, find_inputs
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import (
    Layout,
    OutputPaths,
    check_names,
    check_output_folder,
    remove_if_empty,
    write_failures,
)
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.subject import SubjectRunner

if TYPE_CHECKING:
    from mri2pet.engines import Engine
    from mri2pet.engines.choose import Named
    from mri2pet.imaging.pipeline import T1Image
    from mri2pet.synthesis.inputs import Input

log = logging.getLogger(__name__)


def synthesize(
    inputs: Input | Sequence[Input],
    out: str | os.PathLike[str] | None = None,
    *,
    model: Named | Sequence[Named] = "demo",
    samples: int = 4,
    sampler: str = "dpmpp",
    steps: int = 25,
    seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    precision: str | None = None,
    skull_stripped: bool = False,
    brain_mask: str | os.PathLike[str] | None = None,
    assume_ras: bool = False,
    extractor: str = "auto",
    overwrite: bool = False,
    atlas: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    reference: str | os.PathLike[str] | None = None,
    centiloid: str | None = None,
    threshold: str | None = None,
    jobs: int = 1,
    ray: str = "",
    series: int | None = None,
    acquisition: str | None = None,
    echo: str | None = None,
    observer: Observer | None = None,
) -> list[SynthesisResult]:
    """Synthetic AV45 PET volumes in SUVR from T1-weighted images, on the images' own grids.

    Args:
        inputs: files, folders (their `*_T1w` images, else all in them) or nibabel images; or
            DICOM: a folder, a zip archive or an Enhanced file, whose results are called `dicom-`
            and 8 hex digits of a hash, by nothing of a header.
        out: output folder, one folder per subject in it; None keeps the results in memory.
        model: name of a bundled model, model or run folder, export folder, or a loaded model; of
            several in a list, sample k is drawn by number k mod their count.
        samples: volumes to draw; their mean is the PET, their standard deviation its spread.
        sampler: `dpmpp` (DPM-Solver++(2M)), `ddim` or `ddpm`.
        steps: network evaluations per sample, 1 … 999; `ddpm` with 999 is the paper's sampling.
        seed: 0 … 2³²−1; the same seed, image, model and sampler give the same volumes.
        device: `auto`, `cpu` or `cuda`.
        engine: `torch` for a model, `onnxruntime` or `tensorrt` for an export; `auto` takes
            torch or ONNX Runtime, whichever fits.
        precision: of the torch engine: `fp32`, `bf16` or, on CUDA, `fp16`.
        skull_stripped: the image shows the brain alone.
        brain_mask: a mask file on the image's grid; for a single input.
        assume_ras: take an image without an affine as RAS+.
        extractor: brain extraction: `template`, `deepbet` or `hd-bet` (if installed), or `auto`:
            the template's mask, or deepbet's where that is installed and the template's fails
            or reaches into bright fat.
        overwrite: redo subjects that are done.
        atlas, labels: integer labels in template space and the table of their names; the mean of
            every region and sample goes into the sidecar, a table and the report.
        target, reference: VOIs in template space in the place of the built-in composite.
        centiloid: name of an equation, see `mri2pet.quantification.centiloid`.
        threshold: `NAME=SUVR`: how probable it is that a measured PET would exceed it.
        jobs: processes that prepare and finish subjects while this one samples; for an output
            folder. One alone holds 1.5 GiB for a head of 0.7 mm. With `ray="local"`: its workers.
        ray: `local` or the address of a Ray cluster, whose workers do everything, each with a
            model (and a GPU, for `device="cuda"`) of its own; for an output folder.
        series, acquisition, echo: which T1 of DICOM, as in `mri2pet.dicom.reading`.
        observer: hears of the progress.

    Returns:
        One result per subject. A subject whose files in `out` come from the same image, model
        and settings is skipped.

    Raises:
        UsageError: an option makes no sense.
        ModelError: the model is unknown or corrupted, or its calibration is another model's; or
            models that cannot draw together.
        Mri2petError: the output folder is not writable; or the only subject of the call failed.
            Of several subjects the failed ones are in the result and in `failures.tsv`.
    """
    options = SynthesisOptions(
        model=model,
        samples=samples,
        sampler=sampler,
        steps=steps,
        seed=seed,
        device=device,
        engine=engine,
        precision=precision,
        skull_stripped=skull_stripped,
        brain_mask=_path(brain_mask),
        assume_ras=assume_ras,
        extractor=extractor,
        overwrite=overwrite,
        atlas=_path(atlas),
        labels=_path(labels),
        target=_path(target),
        reference=_path(reference),
        centiloid=centiloid,
        threshold=threshold,
    )
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one process is needed")
    if (jobs > 1 or ray) and out is None:
        raise UsageError("--jobs and --ray are for an output folder: give out")
    folder = Path(out) if out is not None else None
    subjects = find_inputs(inputs, folder, series=series, acquisition=acquisition, echo=echo)
    return _run(subjects, folder, options, observer or Observer(), jobs, ray)


def _path(name: str | os.PathLike[str] | None) -> Path | None:
    return None if name is None else Path(name)


def _run(
    subjects: list[SubjectInput],
    out: Path | None,
    options: SynthesisOptions,
    observer: Observer,
    jobs: int,
    ray: str,
) -> list[SynthesisResult]:
    if options.brain_mask is not None and len(subjects) > 1:
        raise UsageError("--brain-mask belongs to one image: give the images one at a time")
    for subject in subjects:
        if subject.note:
            observer.note(subject.note)
    made = check_output_folder(out) if out is not None else []
    try:
        if out is not None:
            check_names(out, [subject.stem for subject in subjects])
        results = run_subjects(subjects, options, out, observer, jobs=jobs, ray=ray)
    finally:
        remove_if_empty(made)
    if out is not None:
        failed = [(s, r) for s, r in zip(subjects, results, strict=True) if r.error is not None]
        write_failures(out, [(s.name, r.reason.replace(s.label, s.name)) for s, r in failed])
    return results


def run_subjects(
    subjects: Sequence[SubjectInput],
    options: SynthesisOptions,
    out: Path | None,
    observer: Observer,
    layout: Layout = OutputPaths.of,
    jobs: int = 1,
    ray: str = "",
) -> list[SynthesisResult]:
    """One result per subject, in their order; `out` is there and can be written to.

    With several jobs, processes prepare and finish subjects beside the sampling of this one; with
    Ray, its workers do all, each with a model of its own.

    Raises:
        UsageError, ModelError: as `synthesize`.
        Mri2petError: the only subject failed.
    """
    observer.run_started(len(subjects))
    if ray:
        from mri2pet.synthesis.on_ray import run_on_ray

        return run_on_ray(subjects, options, out, observer, layout, jobs, ray)
    in_workers = jobs > 1 and len(subjects) > 1
    first = None if in_workers or not subjects else _begin(subjects[0], options)
    runner, engine = make_runner(options, out, observer, layout)
    if in_workers:
        from mri2pet.synthesis.workers import run_in_workers

        return run_in_workers(runner, engine, subjects, jobs)
    results = []
    for subject in subjects:
        observer.subject_started(subject.label)
        reading, first = first, None  # nothing holds the image once its subject is done
        try:
            result = runner.run(subject, reading)
        except Exception as error:
            if len(subjects) == 1:
                raise
            log.debug("%s failed", subject.label, exc_info=True)
            result = SynthesisResult(subject.label, "failed", error=error)
        observer.subject_finished(result)
        results.append(result)
    return results


def _begin(subject: SubjectInput, options: SynthesisOptions) -> Future[T1Image] | None:
    """Reads the first image and makes registrations ready, while torch and the model load.

    DICOM is read later: what silences its reader is for one thread at a time.
    """
    from mri2pet.imaging.brain import ready

    ready.begin()
    if not isinstance(subject.source, Path):
        return None
    return background.begin(lambda: subject.read(assume_ras=options.assume_ras), "first image")


def make_runner(
    options: SynthesisOptions, out: Path | None, observer: Observer, layout: Layout
) -> tuple[SubjectRunner, Engine]:
    """What runs a subject, and the engine that it draws with.

    Raises:
        UsageError, InputError, ModelError: as `synthesize`.
    """
    from mri2pet.engines.choose import recorded_sampling
    from mri2pet.engines.mean import described_mean
    from mri2pet.uncertainty.results import ResultUncertainty

    settings = options.settings()
    what = options.quantification()
    settings["quantification"] = None if what is None else what.record()
    engine = _loaded(options)
    settings["precision"] = engine.precision
    sampler, steps = recorded_sampling(engine.config, options.sampler, options.steps)
    settings |= {"sampler": sampler, "steps": steps}
    settings["mean"] = described_mean(engine, options.samples)
    uncertainty = ResultUncertainty.of(
        options.model,
        engine.sha256,
        engine.provenance,
        sampler=sampler,
        steps=steps,
        samples=options.samples,
    )
    settings["calibration"] = uncertainty.sha256
    drawer = Drawer.of(engine, options)
    runner = SubjectRunner(drawer, options, settings, uncertainty, out, observer, what, layout)
    return runner, engine


def _loaded(options: SynthesisOptions) -> Engine:
    """The engine on the device asked for; a loaded model is taken where it is.

    Raises:
        ModelError: what `load_engine` raises, or a model has only been pre-trained.
        UsageError: what `load_engine` raises, or fewer samples than models.
    """
    from mri2pet.engines import load_engine
    from mri2pet.engines.ensemble import check_samples, members_of

    engine = load_engine(
        options.model,
        engine=options.engine,
        device=choose_device(options.device),
        precision=options.precision,
    )
    for member in members_of(engine):
        training = member.provenance.get("config", {}).get("training", {})
        if training.get("stage") == "pretrain":
            raise ModelError(
                f"{member.name}: is pre-trained on PET-like MRIs and draws no SUVR; fine-tune it "
                "with `mri2pet train RUN --stage finetune --init MODEL`"
            )
    check_samples(engine, options.samples)
    return engine
