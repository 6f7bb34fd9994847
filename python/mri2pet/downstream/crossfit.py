"""Models that were trained without the people whom they draw.

A model's PETs of those who trained it show its memory. With K folds, K more models are trained by
its recipe, each without one fold of the people, and everybody is drawn by the model that knows
nothing of them.

    OUT/crossfit/fold-<k>.tsv    the cohort, the fold's people in the test split
    OUT/crossfit/fold-<k>/       the run
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mri2pet.cohort.manifest import Manifest, ManifestRow, write_cohort
from mri2pet.config import parse_config
from mri2pet.downstream.generator import Drawer, Generator, load_drawer
from mri2pet.downstream.plan import Plan
from mri2pet.downstream.runs import HOUSE
from mri2pet.errors import UsageError
from mri2pet.randomness import random_of
from mri2pet.training import train

OnEvent = Callable[[str, dict[str, Any]], None]
_OWN = {"jobs", "ray", "loaders", "reference"}  # of this command or machine, not of the recipe


def recipe(drawer: Drawer) -> list[str]:
    """The settings by which a model was trained, `section.key=value`.

    Raises:
        UsageError: it does not record them, or it started from another model, which has seen
            everybody.
    """
    tree = drawer.network.provenance.get("config")
    if not tree:
        raise UsageError(f"--crossfit: {drawer.model} does not record how it was trained")
    config = parse_config(tree)
    if config.training.init is not None:
        raise UsageError(
            f"--crossfit: {drawer.model} started from {config.training.init}, which has seen these "
            "people; give a model that was trained from scratch"
        )
    sections = config.model_dump(mode="json")
    length = "volumes" if config.training.epochs is None else "epochs"
    other = {"volumes", "epochs"} - {length}
    return [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in sections.items()
        for key, value in values.items()
        if key not in other and not (section == "data" and key in _OWN)
    ]


def fold_of(rows: Sequence[ManifestRow], folds: int) -> dict[str, int]:
    """Person → fold: as many in each, of the training and of the validation split alike.

    Raises:
        UsageError: fewer people than folds.
    """
    split = {row.subject: row.split for row in rows}
    if len(split) < folds:
        raise UsageError(f"--crossfit {folds}: there are {len(split)} people to divide")
    order = sorted(split, key=lambda name: (split[name], random_of("crossfit", name).random()))
    return {person: place % folds for place, person in enumerate(order)}


def crossfit(plan: Plan, notify: OnEvent) -> Generator:
    """The plan's generator with a model for every fold of the people that its main one has seen.

    Runs that are done or begun are gone on with.

    Args:
        notify: called with "note", and with "crossfit" when a fold's model is there.

    Raises:
        UsageError: see `recipe` and `fold_of`. Mri2petError: a training failed.
    """
    if plan.generator is None:
        raise ValueError("nothing draws")
    generator, options = plan.generator, plan.options
    settings = recipe(generator.main)
    settings.append(f"data.reference={json.dumps(str(options.reference))}")
    settings.append(f"data.jobs={options.jobs}")
    rows = [*plan.groups[HOUSE].pairs, *plan.groups[HOUSE].alone]
    place = fold_of([r for r in rows if generator.main.has_seen(r.subject)], options.crossfit)
    notify("note", {"text": f"{options.crossfit} models to train first, each as long as the given"})
    drawers = []
    for fold in range(options.crossfit):
        people = {person for person, of in place.items() if of == fold}
        run = plan.out / "crossfit" / f"fold-{fold}"
        write_cohort(_without(plan.cohort.manifest, people), run.with_suffix(".tsv"))
        train(
            run,
            data=run.with_suffix(".tsv"),
            settings=settings,
            cache=plan.cohort.root.parent,
            device=plan.device,
        )
        drawers.append(load_drawer(str(run), plan.device))
        check_fold(drawers[-1], people)
        facts = {"done": fold + 1, "of": options.crossfit, "name": f"fold {fold}", "error": None}
        notify("crossfit", facts)
    return replace(generator, folds={person: drawers[fold] for person, fold in place.items()})


def check_fold(drawer: Drawer, people: set[str]) -> None:
    """Refuses a fold's model that has seen the people whom it is to draw.

    Raises:
        UsageError: it has, or does not record whom it has seen.
    """
    unknown = drawer.seen is None or not drawer.seen.whole
    if unknown or any(drawer.has_seen(person) for person in people):
        raise UsageError(
            f"{drawer.model}: has seen people of its fold, from a run of another division; remove "
            "the folder and run the same command again"
        )


def _without(manifest: Manifest, people: set[str]) -> Manifest:
    rows = tuple(
        replace(row, split="test") if row.subject in people else row for row in manifest.rows
    )
    return Manifest(manifest.root, rows, manifest.split_by)
