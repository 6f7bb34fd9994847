"""The one place where the downstream tasks (the paper's Tables 2 and 3) join an experiment."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from mri2pet.experiment.steps import Step, Tell
from mri2pet.experiment.work import Work

MODULE = "mri2pet.downstream.run"


def steps(work: Work, made: Sequence[str]) -> list[Step]:
    """A step for each task; "not available" where the module is missing."""
    config = work.config
    if config.downstream is None:
        return []
    why = None if _is_there() else "this version has no downstream tasks"
    first = config.method_names[0]
    return [
        Step(
            f"downstream:{task}",
            _not_here,
            {"task": task, **config.downstream.model_dump(mode="json", exclude={"tasks"})},
            (f"evaluate:{first}",),
            paths=(f"downstream/{task}",),
            seconds=60.0 * config.downstream.seeds,
            why_not=why,
        )
        for task in config.downstream.tasks
    ]


def _not_here(tell: Tell) -> Sequence[str]:
    raise NotImplementedError


def _is_there() -> bool:
    try:
        return importlib.util.find_spec(MODULE) is not None
    except ModuleNotFoundError:
        return False
