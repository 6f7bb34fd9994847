"""The one place where the downstream tasks (the paper's Tables 2 and 3) join an experiment."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial

from mri2pet.evaluation.settings import Sampling
from mri2pet.experiment.config import DownstreamConfig
from mri2pet.experiment.steps import Step, Tell
from mri2pet.experiment.work import Work
from mri2pet.files import written_whole

FOLDER = "downstream"


def steps(work: Work, made: Sequence[str]) -> list[Step]:
    """A step for each task."""
    config, of = work.config, work.config.downstream
    if of is None:
        return []
    first = config.method_names[0]
    trained = (f"train:{first}",) if f"train:{first}" in made else ()
    drawing = {"sampler": config.evaluate.sampler, "steps": config.evaluate.steps}
    return [
        Step(
            f"downstream:{task}",
            partial(_run, work, of, task),
            {"task": task, **of.model_dump(mode="json", exclude={"tasks"}), **drawing,
             "as_paper": config.evaluate.as_paper},
            ("cache:cohort", *trained),
            paths=(FOLDER,),
            seconds=20.0 + 0.3 * of.seeds * of.epochs,
        )
        for task in of.tasks
    ]  # fmt: skip


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
            settings=() if of.settings == "table" else tuple(of.settings),
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
