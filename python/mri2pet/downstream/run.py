"""`downstream`: what images tell of diagnosis and MMSE, and what drawn PETs add to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import CohortCache, build_cache, find_cache
from mri2pet.cohort.on_ray import ray_map
from mri2pet.cohort.parallel import single_threaded_map
from mri2pet.devices import choose_device
from mri2pet.downstream.agreement import agreement, write_agreement
from mri2pet.downstream.covariates import read_covariates, require_scikit_learn
from mri2pet.downstream.crossfit import crossfit
from mri2pet.downstream.drawn import Making, make_pets, missing_pets
from mri2pet.downstream.estimate import drawing_time, learning_time
from mri2pet.downstream.generator import Generator, load_drawer
from mri2pet.downstream.groups import Groups, check_generator, find_groups
from mri2pet.downstream.plan import Options, Plan
from mri2pet.downstream.runs import AS_PAPER, HOUSE, Run, do
from mri2pet.downstream.settings import OF_PETS, Setting, Task, chosen_settings, find_task
from mri2pet.downstream.tables import collect, make_tables, write_predictions, write_scores
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.evaluation.layout import markdown
from mri2pet.evaluation.settings import check_sampling, model_reference
from mri2pet.evaluation.significance import write_tests
from mri2pet.evaluation.table_files import write_table
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.stages import load_config

OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Downstream:
    """What was found.

    Attributes:
        table: as Markdown.
        files: its three forms, tests, scores, predictions.
    """

    table: str
    files: list[Path]


def downstream(
    data: str | Path,
    out: str | Path,
    *,
    task: str = "diagnosis",
    model: str | Path | None = None,
    options: Options | None = None,
    on_event: OnEvent | None = None,
) -> Downstream:
    """Trains the paper's classifier or regressor on real and on drawn PETs, and compares them.

    What is done is kept: the same call goes on where it was stopped, more seeds and settings are
    added to a folder, and all tasks may share one.

    Args:
        data: a BIDS cohort, or the table that `mri2pet cohort build` wrote of one.
        out: gets `measured/`, `drawn/`, `cohort_mean/`, `runs/`, and the table with its tests,
            scores and predictions.
        task: diagnosis, binary (AD or not) or mmse.
        model: whose PETs; the folder of its training run. Not needed where nothing is drawn.
        options: see `Options`.
        on_event: called as (kind, facts): "note" with text; "prepare", "pet" or "run" with done,
            of, name and error.

    Raises:
        UsageError: wrong options, a model that has seen people of the test split, or a folder of
            other settings.
        InputError: no labels, a class without people, too few people. ModelError: no such model.
        Mri2petError: a PET cannot be drawn, or `out` cannot be written.
    """
    options = options or Options()
    options.check()
    notify = on_event or (lambda kind, facts: None)
    wanted = find_task(task)
    settings = chosen_settings(wanted, list(options.settings))
    if any(setting.key == "covariates" for setting in settings):
        require_scikit_learn()
    device = choose_device(options.device)
    generator = _generator(model, settings, options, device)
    cohort, notes = _cohort(data, wanted, generator, options, notify)
    groups = _groups(cohort, wanted, options)
    plan = Plan(Path(out), cohort, wanted, settings, groups, generator, options, device, notes)
    try:
        plan.open_folder()
        if options.crossfit and any(setting.drawn for setting in settings):
            plan = replace(plan, generator=crossfit(plan, notify))
        _make_pets(plan, notify)
        runs = plan.runs()
        _learn(plan, [run for run in runs if run.result() is None], notify)
        return _report(plan, runs)
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error


def _generator(
    model: str | Path | None, settings: list[Setting], options: Options, device: str
) -> Generator | None:
    drawing = [setting.key for setting in settings if setting.drawn]
    if model is None:
        if drawing:
            raise UsageError(
                f"--model is missing, whose PETs {', '.join(drawing)} would train on; name one, or "
                "other --settings"
            )
        return None
    main = load_drawer(str(model), device)
    check_sampling(main.network, options.sampling)
    return Generator(main, unseen=options.unseen)


def _cohort(
    data: str | Path,
    task: Task,
    generator: Generator | None,
    options: Options,
    notify: OnEvent,
) -> tuple[CohortCache, list[str]]:
    """The cohort in model space, after labels and the model's people were checked."""
    if generator is None:
        config, reference = load_config("compact").model, Reference.of(options.reference)
    else:
        network = generator.main.network
        config, reference = network.config, model_reference(network, options.reference)
    shared: dict[str, Any] = {
        "mri_shape": config.mri_shape,
        "pet_shape": config.pet_shape,
        "registration": options.registration,
        "reference": reference,
    }
    planned = find_cache(data, options.cache, **shared)
    find_groups(planned, task, mmse_min=options.mmse_min, prepared=False)
    notes = []
    if generator is not None:
        main = generator.main
        notes = check_generator(main.model, main.seen, planned, unseen=generator.unseen)

    def prepared(done: int, of: int, name: str, error: str | None) -> None:
        notify("prepare", {"done": done, "of": of, "name": name, "error": error})

    cohort = build_cache(
        data,
        options.cache,
        **shared,
        jobs=options.jobs,
        ray=options.ray,
        include_unpaired=True,
        on_subject=prepared,
        on_note=lambda text: notify("note", {"text": text}),
    )
    return cohort, notes


def _groups(cohort: CohortCache, task: Task, options: Options) -> dict[str, Groups]:
    return {
        mode: find_groups(cohort, task, as_paper=mode == AS_PAPER, mmse_min=options.mmse_min)
        for mode in options.modes
    }


def _make_pets(plan: Plan, notify: OnEvent) -> None:
    options = plan.options
    making = Making(plan.out, plan.cohort, options.sampling, plan.device, options.jobs, options.ray)
    wanted = list(plan.wanted())
    if said := drawing_time(plan, missing_pets(wanted, making)):
        notify("note", {"text": said})

    def made(kind: str, done: int, of: int, name: str) -> None:
        notify(f"pet: {kind}", {"done": done, "of": of, "name": name, "error": None})

    make_pets(wanted, making, made)


def _learn(plan: Plan, missing: list[Run], notify: OnEvent) -> None:
    options, on_gpu = plan.options, plan.device == "cuda"
    if said := learning_time(plan, missing):
        notify("note", {"text": said})
    if options.ray is not None:
        results = ray_map(do, missing, options.jobs, options.ray, gpus=int(on_gpu))
    else:
        results = single_threaded_map(do, missing, 1 if on_gpu else options.jobs)
    for done, (_, name) in enumerate(results, start=1):
        notify("run", {"done": done, "of": len(missing), "name": name, "error": None})


def _report(plan: Plan, runs: list[Run]) -> Downstream:
    records = collect(runs)
    tables = make_tables(plan, records)
    of_pets, more = records[HOUSE].get(OF_PETS, []), []
    name = plan.task.table + ("_binary" if plan.task.key == "binary" else "")
    if of_pets and all("predicted_of_drawn" in record for record in of_pets):
        found = agreement(of_pets, _sexes(plan, of_pets[0]["rows"]))
        tables.table.notes.append(found.note)
        more = write_agreement(plan.out / f"{name}_real_against_drawn", found)
    files = [*write_table(plan.out / name, tables.table), *more]
    more = [plan.out / f"{name}_{kind}.tsv" for kind in ("tests", "scores", "predictions")]
    write_tests(more[0], [test.row() for test in tables.tests])
    write_scores(more[1], tables)
    write_predictions(more[2], plan, records)
    return Downstream(markdown(tables.table), [*files, *more])


def _sexes(plan: Plan, names: list[str]) -> list[str | None]:
    known = read_covariates(plan.cohort.manifest.root, list(plan.cohort.manifest))
    return [known[name][1] for name in names]
