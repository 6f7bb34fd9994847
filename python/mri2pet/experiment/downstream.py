"""The one place where the downstream tasks (the paper's Tables 2 and 3) join an experiment."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from mri2pet.downstream.settings import TASKS, Setting, chosen_settings
from mri2pet.evaluation.settings import Sampling
from mri2pet.experiment import estimate
from mri2pet.experiment.config import DownstreamConfig
from mri2pet.experiment.sizes import device_of, learnt_scans, voxels_of
from mri2pet.experiment.steps import Step, Tell, content_of
from mri2pet.experiment.work import Work
from mri2pet.files import written_whole
from mri2pet.stages import load_config

FOLDER = "downstream"


def steps(work: Work, made: Sequence[str]) -> list[Step]:
    """A step for each task."""
    config, of = work.config, work.config.downstream
    if of is None:
        return []
    first, drawing = config.method_names[0], config.evaluate
    is_made_here = f"train:{first}" in made
    needs = ("cache:cohort", "labels:cohort", f"train:{first}")
    inputs: dict[str, Any] = {
        **of.model_dump(mode="json", exclude={"tasks"}),
        **{key: getattr(drawing, key) for key in ("sampler", "steps", "as_paper")},
        "draw_seed": drawing.seed,
        "model": None if is_made_here else content_of(work.model(first)),
    }
    return [
        Step(
            f"downstream:{task}",
            partial(_run, work, of, task),
            {**inputs, "task": task},
            tuple(name for name in needs if name in made),
            paths=(FOLDER,),
            seconds=_seconds(work, of, task),
            why_not=_why_not(of, task),
        )
        for task in of.tasks
    ]


def _rows(of: DownstreamConfig, task: str) -> list[Setting]:
    return chosen_settings(TASKS[task], list(of.settings_of(task)))


def _why_not(of: DownstreamConfig, task: str) -> str | None:
    named = any(setting.key == "covariates" for setting in _rows(of, task))
    if not named or find_spec("sklearn") is not None:
        return None
    return "its row covariates needs scikit-learn: pip install 'mri2pet[eval]'"


def _seconds(work: Work, of: DownstreamConfig, task: str) -> float:
    """About; the PETs are reckoned with the first task, the others find them."""
    config, device, rows = work.config, device_of(work), _rows(of, task)
    at_once = 1 if device == "cuda" else config.jobs
    settings = load_config(config.preset, work.model_settings())
    voxels = {
        "mri": math.prod(settings.model.mri_shape),
        "pet": math.prod(settings.model.pet_shape),
    }
    pairs, alone = learnt_scans(work)
    read = sum(
        (pairs * (row.pairs is not None) + alone * (row.alone is not None)) * voxels[name]
        for row in rows
        for name in row.inputs
    )
    networks = of.seeds * (1 + config.evaluate.as_paper)
    seconds = estimate.downstream_s(device, networks * read, of.patience, of.epochs)
    if task == of.tasks[0]:
        scans = pairs + alone if any(row.drawn for row in rows) else 0
        seconds += estimate.evaluation_s(
            device, scans, config.evaluate.steps, voxels_of(settings), 0, first=False
        )
        seconds += estimate.WARP_S * alone * any(row.alone == "mean" for row in rows)
    return seconds / at_once


def _run(work: Work, of: DownstreamConfig, task: str, tell: Tell) -> Sequence[str]:
    from mri2pet.downstream.plan import Options
    from mri2pet.downstream.run import downstream
    from mri2pet.downstream.training import Fit

    config = work.config
    drawing = config.evaluate
    made = downstream(
        work.data(config.cohort),
        work.out / FOLDER,
        task=task,
        model=work.model(config.method_names[0]),
        options=Options(
            settings=of.settings_of(task),
            seeds=of.seeds,
            as_paper=drawing.as_paper,
            crossfit=of.crossfit,
            mmse_min=of.mmse_min,
            fit=Fit(
                epochs=of.epochs,
                patience=of.patience,
                batch=of.batch_size,
                lr=of.lr,
                class_weights=of.class_weights,
            ),
            sampling=Sampling(1, drawing.sampler, drawing.steps, drawing.seed),
            jobs=config.jobs,
            ray=config.ray,
            registration=config.cohort.registration,
            reference=work.drawn_reference,
            device=config.device,
        ),
        on_event=tell,
    )
    for file in made.files:
        folder = "figures" if file.suffix == ".png" else "tables"
        with written_whole(work.out / folder / file.name) as part:
            shutil.copyfile(file, part)
    return ()
