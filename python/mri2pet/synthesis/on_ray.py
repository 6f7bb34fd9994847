"""Many subjects on a Ray cluster: every worker prepares, draws and writes whole subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mri2pet.cohort.on_ray import ray_map
from mri2pet.devices import choose_device
from mri2pet.errors import ProcessLost, UsageError, portable
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import Layout
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.subject import SubjectRunner, from_files

Answer = tuple[str, Any]  # status and sidecar, or "failed" and the error


def run_on_ray(
    subjects: Sequence[SubjectInput],
    options: SynthesisOptions,
    out: Path | None,
    observer: Observer,
    layout: Layout,
    jobs: int,
    address: str,
) -> list[SynthesisResult]:
    """One result per subject, in their order; each is told when it is there.

    The images, the model and `out` must be at the same paths on every machine. A subject whose
    worker dies is begun again, three times; then it is a failed one and the rest go on.

    Raises:
        UsageError: a model in memory; Ray is not installed or does not answer.
        Mri2petError: the only subject failed.
    """
    options = _portable(options)
    gpus = 1 if choose_device(options.device) == "cuda" else 0
    places = {id(subject): place for place, subject in enumerate(subjects)}
    results: dict[int, SynthesisResult] = {}
    work = _Work(options, out, layout)
    answers = ray_map(work, list(subjects), jobs, address, gpus=gpus, lost=_lost)
    for subject, (status, content) in answers:
        if status == "failed":
            if len(subjects) == 1:
                raise content
            result = SynthesisResult(subject.label, "failed", error=content)
        else:
            assert out is not None
            paths = layout(out, subject.stem)
            result = from_files(subject.label, status, paths, content)  # type: ignore[arg-type]
        results[places[id(subject)]] = result
        observer.subject_finished(result)
    return [results[place] for place in range(len(subjects))]


def _lost(error: Exception) -> Answer:
    return "failed", error


def _portable(options: SynthesisOptions) -> SynthesisOptions:
    """The options with models by name, which other machines can load.

    Raises:
        UsageError: a model in memory.
    """
    given = options.model
    names = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not all(isinstance(name, (str, Path)) for name in names):
        raise UsageError("--ray needs models that its workers can load: give their folders")
    texts = tuple(str(name) for name in names)
    return replace(options, model=texts[0] if len(texts) == 1 else texts)


@dataclass(frozen=True)
class _Work:
    """What a worker does with a subject."""

    options: SynthesisOptions
    out: Path | None
    layout: Layout

    def __call__(self, subject: SubjectInput) -> Answer:
        try:
            result = _runner(self.options, self.out, self.layout).run(subject)
        except ProcessLost:
            raise
        except Exception as error:
            return "failed", portable(error)
        return result.status, result.sidecar


@lru_cache(maxsize=1)
def _runner(options: SynthesisOptions, out: Path | None, layout: Layout) -> SubjectRunner:
    """Of this worker's process: the model is loaded once."""
    from mri2pet.synthesis.run import make_runner

    return make_runner(options, out, Observer(), layout)[0]
