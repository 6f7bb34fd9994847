"""Evaluation of a model on a cohort, beside trivial rivals: `evaluate`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.splits import SPLITS
from mri2pet.devices import choose_device
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.evaluation.figure import draw_figure
from mri2pet.evaluation.methods import METHODS, compare, within_support
from mri2pet.evaluation.rivals import Rivals, fit_rivals
from mri2pet.evaluation.tables import markdown_table, summarise, write_metrics
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.reference import (
    CEREBELLUM,
    MINMAX,
    Reference,
    in_suvr,
    recorded_reference,
)
from mri2pet.tables import write_tsv

FORMAT = 1
SETTINGS = "settings.json"
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        out: the folder with metrics.tsv, summary.json, table.md, figure.png and subjects/.
        summary: as in summary.json.
        table: the Markdown table.
        failures: row name → why it is not in the figures.
    """

    out: Path
    summary: dict[str, Any]
    table: str
    failures: dict[str, str]


@dataclass(frozen=True)
class Sampling:
    """How the model's PETs are drawn.

    `batch`: how many at once, which changes the time and not the result; None takes 2 on a CPU,
    where that was fastest, and all of a subject's elsewhere.
    """

    samples: int = 8
    sampler: str = "dpmpp"
    steps: int = 25
    seed: int = 0
    batch: int | None = None


def evaluate(
    model: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    split: str = "test",
    sampling: Sampling = Sampling(),
    registration: str = "estimate",
    reference: str | Path = CEREBELLUM,
    training_data: str | Path | None = None,
    training_registration: str = "estimate",
    limit: int | None = None,
    cache: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    on_event: OnEvent | None = None,
) -> Evaluation:
    """Compares a model's PETs and trivial rivals with the measured PETs of a split.

    Subjects that are done are kept, so a stopped evaluation goes on by the same call, and a
    higher `limit` adds subjects.

    Args:
        model: a bundled model's name, a model folder, or the folder of a training run.
        data: a BIDS cohort. The rivals are fitted to its training split.
        split: train, val, test, or all for a cohort that the model has never seen.
        reference: of the measured PETs, see `Reference.of`; it must be what the model learnt.
            A model of `minmax` is brought to SUVR by the cerebellum.
        training_data: fit the rivals to the training split of this cohort instead.
        training_registration: the `registration` of that cohort's cache.
        limit: the first so many rows of the split; None for all.
        cache, jobs, registration: see `build_cache`.
        device: where the model runs: auto, cpu or cuda.
        on_event: called as (kind, facts) with kind "prepare" or "subject" and facts
            done, of, name, error; or with "note" and text.

    Raises:
        UsageError: wrong options, another reference than the model's, or `out` holds an
            evaluation with other settings.
        InputError: the cohort or the split has no usable pair. ModelError: no such model.
        Mri2petError: not one subject could be evaluated, or `out` cannot be written.
    """
    from mri2pet.checkpoint import load_model

    _check_rows(split, limit)
    notify = on_event or (lambda kind, facts: None)
    out, network = Path(out), load_model(model, choose_device(device))
    _check_sampling(network, sampling)
    shared = _cache_options(network, _model_reference(network, reference), jobs, notify)
    cohort = training = build_cache(data, cache, registration=registration, **shared)
    if training_data is not None:
        training = build_cache(training_data, registration=training_registration, **shared)
    wanted = cohort.manifest.select(None if split == "all" else split)[:limit]
    if not wanted:
        raise InputError(f"{cohort.manifest.root}: the {split} split has no MRI-PET pair.")
    try:
        settings = _open(out, network, cohort, training, split, sampling)
        failures = _evaluate_rows(network, cohort, training, wanted, out, sampling, notify)
        return _report(out, settings, cohort, wanted, failures, sampling)
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error


def noise_subject(row: ManifestRow) -> int:
    """The 64-bit number that keys the sampling noise of a row: SHA-256 of its name."""
    return int(hashlib.sha256(row.name.encode()).hexdigest()[:16], 16)


def _model_reference(network: Any, setting: str | Path) -> Reference:
    """The reference of a setting, if the model's PETs are SUVR by the same."""
    reference, learnt = Reference.of(setting), recorded_reference(network.provenance)
    drawn = CEREBELLUM if learnt["key"] == MINMAX else learnt["key"]
    if reference.key != drawn:
        name = learnt["name"] if drawn == learnt["key"] else CEREBELLUM
        raise UsageError(
            f"--reference {setting}: the model's PETs are SUVR by another region ({name}); "
            "give that one"
        )
    return reference


def _cache_options(
    network: Any, reference: Reference, jobs: int, notify: OnEvent
) -> dict[str, Any]:
    def prepared(done: int, of: int, name: str, error: str | None) -> None:
        notify("prepare", {"done": done, "of": of, "name": name, "error": error})

    return {
        "mri_shape": network.config.mri_shape,
        "pet_shape": network.config.pet_shape,
        "reference": reference,
        "jobs": jobs,
        "on_subject": prepared,
        "on_note": lambda text: notify("note", {"text": text}),
    }


def _check_rows(split: str, limit: int | None) -> None:
    if split not in (*SPLITS, "all"):
        raise UsageError(f"unknown split {split!r}; there are {', '.join(SPLITS)}, all")
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")


def _check_sampling(network: Any, sampling: Sampling) -> None:
    from mri2pet.diffusion.samplers import make_table

    make_table(sampling.sampler, network.config.prediction, sampling.steps)
    for name, value in (("samples", sampling.samples), ("batch", sampling.batch)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")


def _open(
    out: Path,
    network: Any,
    cohort: CohortCache,
    training: CohortCache,
    split: str,
    sampling: Sampling,
) -> dict[str, Any]:
    """Writes the settings of a new evaluation, or checks those of an old one."""
    names = "\n".join(row.name for row in training.rows("train"))
    settings = {
        "format": FORMAT,
        "model": network.name,
        "model_sha256": network.sha256,
        "cohort": cohort.settings["cohort"],
        "registration": cohort.settings["registration"],
        "reference": cohort.settings["reference"],
        "training_cohort": training.settings["cohort"],
        "training_rows_sha256": hashlib.sha256(names.encode()).hexdigest(),
        "split": split,
        "samples": sampling.samples,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "seed": sampling.seed,
    }
    path = out / SETTINGS
    if path.is_file():
        stored = json.loads(path.read_text())
        other = sorted(k for k in settings if stored.get(k) != settings[k])
        if other:
            raise UsageError(
                f"{out} holds an evaluation with another {', '.join(other)}; "
                "give another folder or the same settings"
            )
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no evaluation; choose another folder")
    else:
        with written_whole(path) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")
    return settings


def _evaluate_rows(
    network: Any,
    cohort: CohortCache,
    training: CohortCache,
    wanted: list[ManifestRow],
    out: Path,
    sampling: Sampling,
    notify: OnEvent,
) -> dict[str, str]:
    usable = {row.name for row in cohort.rows()}
    failures = {
        row.name: cohort.failures.get(row.name, "is not in model space")
        for row in wanted
        if row.name not in usable
    }
    missing = [row for row in wanted if row.name in usable and not _result_path(out, row).is_file()]
    if not missing:
        return failures
    rivals = fit_rivals(training)
    for done, row in enumerate(missing, start=1):
        error = None
        try:
            evaluate_row(network, cohort, row, rivals, out, sampling)
        except OSError:
            raise
        except Exception as problem:  # one subject's surprise must not end the evaluation
            error = failures[row.name] = f"{type(problem).__name__}: {problem}"
        notify("subject", {"done": done, "of": len(missing), "name": row.name, "error": error})
    return failures


def evaluate_row(
    network: Any,
    cohort: CohortCache,
    row: ManifestRow,
    rivals: Rivals,
    out: Path,
    sampling: Sampling,
) -> dict[str, Any]:
    """Predictions and figures of one row, written to `out/subjects/`.

    `<row>.npz` gets float16 `[K, I, J]`: mean, spread (SUVR), cohort_mean_warped. `<row>.json`
    is written last, so its presence says that the row is done.
    """
    mri, brain = np.asarray(cohort.mri(row), dtype=np.float32), np.asarray(cohort.brain(row))
    start = time.perf_counter()
    pets = [within_support(pet, brain) for pet in draw(network, mri, row, sampling)]
    seconds = time.perf_counter() - start
    predictions = {
        "one_sample": pets[0],
        "mean_of_samples": np.mean(pets, axis=0),
        "cohort_mean": within_support(rivals.cohort_mean(), brain),
        "cohort_mean_warped": within_support(rivals.warped_cohort_mean(mri), brain),
        "linear_map": within_support(rivals.linear_map(mri), brain),
    }
    measured = np.asarray(cohort.pet(row), dtype=np.float32)
    record = {
        "row": row.name,
        "subject": row.subject,
        "diagnosis": row.diagnosis,
        "measured_cortical_suvr": compare(measured, measured, brain).cortical_suvr,
        "true_cortical_suvr": _true_cortical_suvr(row),
        "seconds": seconds,
        "methods": {m: compare(predictions[m], measured, brain).as_dict() for m in METHODS},
    }
    arrays = {
        "mean": predictions["mean_of_samples"],
        "spread": np.std(pets, axis=0, ddof=1) if len(pets) > 1 else np.zeros_like(pets[0]),
        "cohort_mean_warped": predictions["cohort_mean_warped"],
    }
    path = _result_path(out, row)
    with written_whole(path.with_suffix(".npz")) as part:
        np.savez_compressed(part, **{k: v.astype(np.float16) for k, v in arrays.items()})  # type: ignore[arg-type]
    with written_whole(path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    return record


def draw(network: Any, mri: np.ndarray, row: ManifestRow, sampling: Sampling) -> np.ndarray:
    """The model's PETs (SUVR) of one MRI `[K, I, J]`: float32 `[samples, K, I, J]`."""
    import torch

    from mri2pet.engines.sampling import sample

    fastest = 2 if network.device.type == "cpu" else sampling.samples
    drawn = sample(
        network,
        torch.from_numpy(mri)[None, None],
        samples=sampling.samples,
        sampler=sampling.sampler,
        steps=sampling.steps,
        seed=sampling.seed,
        subject=noise_subject(row),
        batch=sampling.batch or fastest,
    )
    learnt = (drawn * network.pet_std + network.pet_mean).cpu().numpy()[:, 0]
    return in_suvr(learnt, network.provenance)


def _true_cortical_suvr(row: ManifestRow) -> float | None:
    """The value a simulated cohort was made with; None for a real one."""
    if row.pet_truth is None:
        return None
    value = json.loads(row.pet_truth.read_text()).get("cortical_suvr")
    return None if value is None else float(value)


def _report(
    out: Path,
    settings: dict[str, Any],
    cohort: CohortCache,
    wanted: list[ManifestRow],
    failures: dict[str, str],
    sampling: Sampling,
) -> Evaluation:
    records = [
        json.loads(path.read_text()) for row in wanted if (path := _result_path(out, row)).is_file()
    ]
    rows = [{"row": name, "error": error} for name, error in failures.items()]
    write_tsv(out / "failures.tsv", ("row", "error"), rows)
    if not records:
        name, error = next(iter(failures.items()))
        raise Mri2petError(f"{out}: no subject could be evaluated; {name}: {error}")
    write_metrics(out / "metrics.tsv", records)
    summary = summarise(records, settings)
    with written_whole(out / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n")
    table = markdown_table(summary, sampling.samples)
    with written_whole(out / "table.md") as part:
        part.write_text(table)
    draw_figure(out / "figure.png", cohort, records, lambda name: out / "subjects" / f"{name}.npz")
    return Evaluation(out, summary, table, failures)


def _result_path(out: Path, row: ManifestRow) -> Path:
    return out / "subjects" / f"{row.name}.json"
