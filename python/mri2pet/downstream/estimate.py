"""How long the work will take, measured before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.parallel import one_thread
from mri2pet.downstream.drawn import Wanted
from mri2pet.downstream.plan import Plan
from mri2pet.downstream.runs import Run
from mri2pet.downstream.training import learn
from mri2pet.evaluation.rows import draw
from mri2pet.evaluation.settings import Sampling

TRIED_SCANS, TRIED_STEPS = 8, 2


def drawing_time(plan: Plan, missing: Sequence[Wanted]) -> str | None:
    """A sentence on the PETs that are still to be drawn; None for none."""
    drawn = [pet for pet in missing if pet.kind == "drawn"]
    if not drawn or plan.generator is None:
        return None
    sampling = plan.options.sampling
    network = plan.generator.main.network
    tried = Sampling(1, sampling.sampler, min(TRIED_STEPS, sampling.steps), sampling.seed)
    steps = sampling.steps if network.config.family == "diffusion" else tried.steps
    seconds = _seconds(plan, network, drawn[0].row, tried) * steps / tried.steps * len(drawn)
    return f"{len(drawn)} PETs to draw: about {duration(seconds / _at_once(plan))}"


def _seconds(plan: Plan, network: object, row: ManifestRow, sampling: Sampling) -> float:
    mri = np.asarray(plan.cohort.mri(row), dtype=np.float32)
    draw(network, mri, row, sampling)  # the first one prepares
    start = time.perf_counter()
    draw(network, mri, row, sampling)
    return time.perf_counter() - start


def learning_time(plan: Plan, missing: Sequence[Run]) -> str | None:
    """A sentence on the missing runs, from the fewest epochs to the most; None for none."""
    by_network = [run for run in missing if run.setting.by_network]
    if not by_network:
        return None
    each: dict[tuple[str, ...], float] = {}
    for run in by_network:
        if run.setting.inputs not in each:
            each[run.setting.inputs] = _seconds_a_scan(run)
    an_epoch = sum(each[run.setting.inputs] * len(run.training) for run in by_network)
    fit, at_once = plan.options.fit, _at_once(plan)
    least, most = (epochs * an_epoch / at_once for epochs in (fit.patience + 1, fit.epochs))
    return (
        f"{len(by_network)} networks to train: {duration(least)} to {duration(most)}, as they stop "
        f"after {min(fit.patience + 1, fit.epochs)} to {fit.epochs} epochs; finished ones are kept"
    )


def _seconds_a_scan(run: Run) -> float:
    """Of one epoch with a scan: on two people, who are what a division needs."""
    first = run.training[0]
    other = next(s for s in run.training if s.subject != first.subject)
    some = [first] * (TRIED_SCANS - 1) + [other]
    one_epoch = type(run.fit)(epochs=1, micro_batch=TRIED_SCANS)
    with one_thread():
        for _ in range(2):  # the first one prepares
            start = time.perf_counter()
            learn(some, run.setting.inputs, run.task, one_epoch, (0, "estimate"), device=run.device)
            seconds = time.perf_counter() - start
    return seconds / TRIED_SCANS


def _at_once(plan: Plan) -> int:
    return 1 if plan.device == "cuda" else plan.options.jobs


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
