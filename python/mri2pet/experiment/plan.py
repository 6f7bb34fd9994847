"""An experiment's configuration as steps: what needs what, and what changes which result."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mri2pet.config import Config
from mri2pet.downstream.settings import LABEL_DAYS
from mri2pet.errors import UsageError
from mri2pet.evaluation import settings as evaluation_settings
from mri2pet.experiment import downstream, estimate
from mri2pet.experiment.config import ExperimentConfig, TrainedElsewhere
from mri2pet.experiment.methods import METHODS, pretrained_by
from mri2pet.experiment.page import settings_shown, write_page
from mri2pet.experiment.sizes import (
    device_of,
    evaluated_scans,
    validation_scans,
    visits_of,
    voxels_of,
)
from mri2pet.experiment.steps import Step, content_of, done_steps, tables_of
from mri2pet.experiment.work import MIN_SAMPLES, STYLED, Work
from mri2pet.stages import load_config
from mri2pet.uncertainty import calibration

EXTRAS = {"scikit-image": "skimage", "scikit-learn": "sklearn"}


def plan(config: ExperimentConfig) -> list[Step]:
    """The steps in an order in which each comes after those it needs.

    Raises:
        UsageError: keys that do not go together, or settings that a training does not take.
    """
    work = Work(config)
    steps = [*_cohorts(work), *_trainings(work), *_evaluations(work)]
    steps += downstream.steps(work, [step.name for step in steps])
    steps += _drawn_up(work, [step.name for step in steps])
    everything = tuple(step.name for step in steps)
    shown = {"settings": settings_shown(config)}
    steps.append(
        Step(
            "page",
            lambda tell: write_page(config, done_steps(config.out, steps)),
            shown,
            after=everything,
            seconds=3.0,
            derived=True,
        )
    )
    return steps


def steps_needed(steps: Sequence[Step], only: Sequence[str]) -> list[Step]:
    """Those that are named, or whose kind is (`train` for `train:gan`), and all that they need.

    Raises:
        UsageError: a name that is no step.
    """
    wanted: set[str] = set()
    for name in only:
        named = {s.name for s in steps if name in (s.name, s.name.partition(":")[0])}
        if not named:
            raise UsageError(
                f"--only {name}: is no step; there are {', '.join(step.name for step in steps)}"
            )
        wanted |= named
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(step.needs)
    return [step for step in steps if step.name in wanted]


def _cohorts(work: Work) -> Iterator[Step]:
    config = work.config
    cohorts = {"cohort": config.cohort}
    if config.test_cohort is not None:
        cohorts["test-cohort"] = config.test_cohort
    for name, cohort in cohorts.items():
        needs: tuple[str, ...] = ()
        visits = visits_of(cohort)
        if cohort.phantom is not None:
            folder = work.data(cohort).with_suffix("").name
            yield Step(
                f"phantom:{name}",
                partial(work.phantom, cohort),
                {"phantom": cohort.phantom.model_dump()},
                paths=(folder,),
                seconds=visits * estimate.VISIT_S / config.jobs,
            )
            needs = (f"phantom:{name}",)
        if cohort.table is None:
            table = work.data(cohort)
            yield Step(
                name,
                partial(work.table, cohort),
                {"from": str(cohort.bids), "fractions": cohort.fractions, "seed": cohort.seed,
                 "split_by": cohort.split_by},
                needs,
                paths=(table.name, f"{table.stem}.json", f"{table.stem}_passed_over.tsv"),
                seconds=2.0,
            )  # fmt: skip
            needs = (name,)
        model = load_config(config.preset, work.model_settings()).model
        yield Step(
            f"cache:{name}",
            partial(work.cache, cohort),
            {"table": content_of(cohort.table), "registration": cohort.registration,
             "reference": cohort.reference, "mri": model.mri_shape, "pet": model.pet_shape},
            needs,
            seconds=visits * estimate.PREPARE_S[cohort.registration] / config.jobs,
        )  # fmt: skip
        if cohort.bids is not None:
            yield Step(
                f"labels:{name}",
                partial(work.labels, cohort),
                {"tables": tables_of(cohort.bids), "label_days": LABEL_DAYS},
                (f"cache:{name}",),
                seconds=2.0,
                derived=True,
            )


def _trainings(work: Work) -> Iterator[Step]:
    config = work.config
    owners = pretrained_by(config.trained.values())
    styled = [name for name in owners if METHODS[name].is_styled]
    if styled and config.style is None:
        raise UsageError(
            f"style: is missing, and {styled[0]} is pre-trained on PET-like MRIs; give "
            "vgg_weights, random_vgg or stylized, or leave those methods out"
        )
    ready = ("cache:cohort",)
    if styled and config.style is not None and config.style.stylized is None:
        settings = _of(work, "mri2pet", "finetune")
        yield Step(
            "style",
            work.style,
            {"style": _plain(config.style), "settings": settings.model.model_dump()},
            ready,
            paths=(STYLED,),
            seconds=estimate.style_s(
                device_of(work), visits_of(config.cohort), config.style.steps, voxels_of(settings)
            ),
        )
    for name in owners:
        style = METHODS[name].is_styled
        given = config.style is not None and config.style.stylized is not None
        needs = (*ready, "style") if style and not given else ready
        yield _training(work, name, "pretrain", needs)
    for name, method in config.trained.items():
        owner = method.pretrained
        needs = ready if owner is None else (*ready, f"pretrain:{owner}")
        yield _training(work, name, "finetune", needs)


def _training(work: Work, name: str, stage: str, needs: tuple[str, ...]) -> Step:
    settings = _of(work, name, stage)
    tree = settings.model_dump(mode="json")
    for section, key in (("data", "jobs"), ("data", "ray"), ("data", "loaders")):
        del tree[section][key]
    tree["training"].pop("micro_batch")
    tree["training"].pop("init")
    style = work.config.style
    if style is not None:
        reads = stage == "pretrain" and work.method(name).is_styled
        tree["data"]["stylized"] = str(style.stylized if reads else None)
    kind = "train" if stage == "finetune" else stage
    volumes = settings.training.volumes
    if settings.training.epochs is not None:
        volumes = settings.training.epochs * visits_of(work.config.cohort)
    return Step(
        f"{kind}:{name}",
        partial(work.train, name, stage),
        tree,
        needs,
        paths=(f"runs/{name}/{stage}",),
        seconds=estimate.training_s(device_of(work), volumes, voxels_of(settings)),
    )


def _evaluations(work: Work) -> Iterator[Step]:
    config, of = work.config, work.config.evaluate
    ready = ("cache:cohort",) + (("cache:test-cohort",) if config.test_cohort else ())
    drawing = {"samples": of.samples, "sampler": of.sampler, "steps": of.steps, "seed": of.seed}
    inputs = {
        **drawing,
        "format": evaluation_settings.FORMAT,
        "split": of.split,
        "limit": of.limit,
        "as_paper": of.as_paper,
        "inception": _plain(of.inception),
    }
    settings = _of(work, "mri2pet", "finetune")
    scans = min(of.limit or 10**9, evaluated_scans(work))
    every = of.inception.every if of.inception is not None else 10**9
    slices = (1 + of.as_paper) * settings.model.pet_shape[0] // every
    missing = [name for name, module in EXTRAS.items() if not _is_there(module)]
    for method in config.methods:
        name = method if isinstance(method, str) else method.name
        elsewhere = isinstance(method, TrainedElsewhere)
        gan = not elsewhere and work.method(name).is_gan
        why = None
        if of.as_paper and "scikit-image" in missing:
            why = "evaluate.as_paper needs scikit-image: pip install 'mri2pet[eval]'"
        yield Step(
            f"evaluate:{name}",
            partial(work.evaluate, name),
            {
                **inputs,
                "samples": work.samples_of(name),
                "model": content_of(work.model(name)) if elsewhere else None,
            },
            ready if elsewhere else (*ready, f"train:{name}"),
            paths=(f"evaluation/{name}",),
            seconds=estimate.evaluation_s(
                device_of(work), scans, work.samples_of(name) * (1 if gan else of.steps),
                voxels_of(settings), slices,
                first=name == config.method_names[0],
            ),
            why_not=why,
        )  # fmt: skip
    first = config.method_names[0]
    if config.uncertainty is None or work.samples_of(first) < MIN_SAMPLES:
        return
    after: tuple[str, ...] = ()
    if config.uncertainty.calibrate is not None:
        yield Step(
            "calibrate",
            work.calibrate,
            {
                **drawing,
                "formats": [evaluation_settings.FORMAT, calibration.FORMAT],
                "calibrate": config.uncertainty.calibrate,
            },
            (f"evaluate:{first}",),
            paths=("calibration",),
            seconds=estimate.evaluation_s(
                device_of(work), validation_scans(work), of.samples * of.steps,
                voxels_of(settings), 0, first=False,
            ),
        )  # fmt: skip
        after = ("calibrate",)
    yield Step(
        "uncertainty",
        work.uncertainty,
        {"threshold": _plain(config.uncertainty.threshold)},
        (f"evaluate:{first}",),
        after,
        seconds=5.0,
        derived=True,
    )


def _drawn_up(work: Work, made: list[str]) -> Iterator[Step]:
    """Figures and tables, of whatever is there."""
    config = work.config
    evaluations = tuple(name for name in made if name.startswith("evaluate:"))
    labels = tuple(name for name in made if name.startswith("labels:"))
    if config.figures is not None:
        for kind in ("grid", "cases", "longitudinal", "decay"):
            wanted = getattr(config.figures, kind)
            if wanted is not None:
                yield Step(
                    f"figure:{kind}",
                    partial(work.figure, kind),
                    {"figure": _plain(wanted)},
                    ("cache:cohort",) if kind == "grid" else (*evaluations[:1], *labels),
                    evaluations if kind == "grid" else (),
                    seconds=6.0,
                    derived=True,
                )
    yield Step(
        "table1",
        work.table1,
        {"methods": config.method_names},
        (),
        evaluations,
        seconds=10.0,
        derived=True,
    )
    cohorts = tuple(name for name in made if name.startswith("cache:"))
    yield Step("tables45", work.tables45, {}, (*cohorts, *labels), seconds=5.0, derived=True)


def _of(work: Work, name: str, stage: str) -> Config:
    """The configuration of a training, as it will be."""
    method = work.method(name)
    more = method.finetune if stage == "finetune" else ()
    start = ("training.init=source",) if stage == "finetune" and method.pretrained else ()
    return load_config(
        work.config.preset,
        [
            *work.model_settings(method),
            *work.length(method, stage),
            *start,
            *more,
            f"training.stage={stage}",
        ],
    )


def _plain(of: Any) -> Any:
    """A part of the configuration as JSON values, files by their content."""
    if of is None:
        return None
    tree = of.model_dump(mode="json")
    for key, value in of:
        if isinstance(value, Path):
            tree[key] = content_of(value)
    return tree


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
