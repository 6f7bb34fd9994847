"""Evaluation of a model on a cohort, beside trivial rivals: `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.devices import choose_device
from mri2pet.errors import InputError, Mri2petError
from mri2pet.evaluation.as_paper import require_scikit_image
from mri2pet.evaluation.compare import compare
from mri2pet.evaluation.features import FeatureOptions, write_features
from mri2pet.evaluation.figure import draw_figure
from mri2pet.evaluation.layout import markdown
from mri2pet.evaluation.rivals import fit_rivals
from mri2pet.evaluation.rows import (
    evaluate_row,
    has_regions,
    measure_again,
    result_path,
    write_as_paper,
)
from mri2pet.evaluation.settings import (
    SAMPLING,
    Sampling,
    check_rows,
    check_sampling,
    model_reference,
    open_folder,
    other_steps,
)
from mri2pet.evaluation.tables import summarise, write_metrics
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.reference import CEREBELLUM, Reference
from mri2pet.tables import write_tsv

if TYPE_CHECKING:
    from mri2pet.evaluation.inception import InceptionV3
    from mri2pet.quantification import Quantification

OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        out: the folder with subjects/, metrics.tsv, summary.json, figure.png and table1 in three
            forms.
        summary: as in summary.json.
        table: the table as Markdown.
        failures: row name → why it is not in the figures.
    """

    out: Path
    summary: dict[str, Any]
    table: str
    failures: dict[str, str]


def evaluate(
    model: str | Path | Sequence[str | Path],
    *,
    data: str | Path,
    out: str | Path,
    split: str = "test",
    sampling: Sampling = SAMPLING,
    registration: str = "estimate",
    reference: str | Path = CEREBELLUM,
    training_data: str | Path | None = None,
    training_registration: str = "estimate",
    limit: int | None = None,
    cache: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    features: FeatureOptions | None = None,
    as_paper: bool = False,
    what: Quantification | None = None,
    on_event: OnEvent | None = None,
) -> Evaluation:
    """Compares a model's PETs and trivial rivals with the measured PETs of a split.

    Subjects that are done are kept, so a stopped evaluation goes on by the same call, and a
    higher `limit` adds subjects.

    Args:
        model: a bundled model's name, a model folder, or the folder of a training run; of several,
            sample k is drawn by number k mod their count.
        data: a BIDS cohort. The rivals are fitted to its training split.
        split: train, val, test, or all for a cohort that the model has never seen.
        reference: of the measured PETs, see `Reference.of`; it must be what the model learnt, or
            that of `what`'s VOIs. A model of `minmax` is brought to SUVR by the cerebellum.
        training_data: fit the rivals to the training split of this cohort instead.
        training_registration: the `registration` of that cohort's cache.
        limit: the first so many rows of the split; None for all.
        cache, jobs, registration: see `build_cache`.
        device: where the model runs: auto, cpu or cuda.
        features: whose weights Inception has, for FID and KID; None leaves these out.
        as_paper: also the figures as the paper's authors compute them.
        what: regions to be measured in every sample and measured PET. Those of scans that are done
            are drawn again where they were not measured.
        on_event: called as (kind, facts) with kind "prepare", "subject" or "features" and facts
            done, of, name, error; or with "note" and text.

    Raises:
        UsageError: wrong options, another reference than the model's, or `out` holds an
            evaluation with other settings.
        InputError: the cohort or the split has no usable pair. ModelError: no such model, or
            models that cannot draw together.
        Mri2petError: not one subject could be evaluated, or `out` cannot be written.
    """
    from mri2pet.engines import load_engine

    check_rows(split, limit)
    notify = on_event or (lambda kind, facts: None)
    if as_paper:
        require_scikit_image()
    inception = None if features is None else features.load().to(choose_device(device))
    out = Path(out)
    network = load_engine(model, engine="torch", device=choose_device(device))
    check_sampling(network, sampling)
    shared = _cache_options(network, model_reference(network, reference, what), jobs, notify)
    cohort = training = build_cache(data, cache, registration=registration, **shared)
    if training_data is not None:
        training = build_cache(training_data, registration=training_registration, **shared)
    wanted = cohort.manifest.select(None if split == "all" else split)[:limit]
    if not wanted:
        raise InputError(f"{cohort.manifest.root}: the {split} split has no MRI-PET pair.")
    if warning := other_steps(network, wanted):
        notify("note", {"text": warning})
    try:
        settings = open_folder(out, network, cohort, training, split, sampling)
        failures = _evaluate_rows(network, cohort, training, wanted, out, sampling, what, notify)
        done = [row for row in wanted if result_path(out, row).is_file()]
        every = 1 if features is None else features.every
        named = _add(out, cohort, done, training, inception, every, as_paper, notify)
        return _report(out, settings, cohort, wanted, failures, as_paper, named)
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error


def _add(
    out: Path,
    cohort: CohortCache,
    rows: list[ManifestRow],
    training: CohortCache,
    inception: InceptionV3 | None,
    every: int,
    as_paper: bool,
    notify: OnEvent,
) -> str | None:
    """Writes what is missing beside the figures of finished scans: those as in the paper, features.

    Returns the name of the features' folder.
    """
    if not rows or not (as_paper or inception):
        return None
    rivals = fit_rivals(training)
    for row in rows if as_paper else ():
        write_as_paper(out, cohort, row, rivals)
    if inception is None:
        return None

    def told(done: int, of: int, name: str) -> None:
        notify("features", {"done": done, "of": of, "name": name, "error": None})

    return write_features(
        *(out, inception, cohort, rows, training, rivals),
        every=every,
        paper=as_paper,
        on_scan=told,
    ).name


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


def _evaluate_rows(
    network: Any,
    cohort: CohortCache,
    training: CohortCache,
    wanted: list[ManifestRow],
    out: Path,
    sampling: Sampling,
    what: Quantification | None,
    notify: OnEvent,
) -> dict[str, str]:
    usable = {row.name for row in cohort.rows()}
    failures = {
        row.name: cohort.failures.get(row.name, "is not in model space")
        for row in wanted
        if row.name not in usable
    }
    found = [row for row in wanted if row.name in usable]
    missing = [row for row in found if not result_path(out, row).is_file()]
    unmeasured = [row for row in found if row not in missing and not has_regions(out, row, what)]
    if not (missing or unmeasured):
        return failures
    rivals = fit_rivals(training) if missing else None
    for done, row in enumerate([*missing, *unmeasured], start=1):
        error = None
        try:
            if rivals is not None and row in missing:
                evaluate_row(network, cohort, row, rivals, out, sampling, what)
            elif what is not None:
                measure_again(network, cohort, row, out, sampling, what)
        except OSError:
            raise
        except Exception as problem:  # one subject's surprise must not end the evaluation
            error = failures[row.name] = f"{type(problem).__name__}: {problem}"
        of = len(missing) + len(unmeasured)
        notify("subject", {"done": done, "of": of, "name": row.name, "error": error})
    return failures


def _report(
    out: Path,
    settings: dict[str, Any],
    cohort: CohortCache,
    wanted: list[ManifestRow],
    failures: dict[str, str],
    as_paper: bool,
    network: str | None,
) -> Evaluation:
    records = [
        json.loads(path.read_text()) for row in wanted if (path := result_path(out, row)).is_file()
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
    comparison = compare(
        [out],
        out / "table1",
        network=network,
        paper=as_paper,
        only={record["row"] for record in records},
    )
    draw_figure(out / "figure.png", cohort, records, lambda name: out / "subjects" / f"{name}.npz")
    return Evaluation(out, summary, markdown(comparison.table), failures)
