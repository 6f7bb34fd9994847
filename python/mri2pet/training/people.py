"""`people.json` of a run: whom its model has seen, so that nobody is tested on it who trained it.

It lies in the run's folder and not with the model, which may be given to others: it names people.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mri2pet.checkpoint import find_model
from mri2pet.cohort.cache import CohortCache
from mri2pet.config import TrainingConfig
from mri2pet.descriptions import read_description, write_description
from mri2pet.training.targets import StageData

PEOPLE = "people.json"


@dataclass(frozen=True)
class Seen:
    """The people that trained a model, or decided when its training went well.

    Attributes:
        subjects: their names, with those of the model that it started from and of its style
            transfer.
        whole: False where it started from a model that does not record its people.
    """

    subjects: frozenset[str]
    whole: bool


def people_of(model: str | Path) -> Seen | None:
    """Of a run's folder, or of the model in it; None where no run's record is there.

    Raises:
        ModelError: no such model, or the record was cut or changed.
    """
    folder = find_model(model).resolve()
    path = folder.parent / PEOPLE
    if folder.name != "model" or not path.is_file():
        return None
    tree = read_description(path)
    return Seen(frozenset(tree["subjects"]), bool(tree["whole"]))


def record_people(
    run: Path, training: TrainingConfig, cohort: CohortCache, data: StageData
) -> None:
    """Writes the people of a stage; those of an earlier call, as for a smaller cohort, stay."""
    rows = [*data.rows, *cohort.rows("val", paired=training.stage == "finetune")]
    if training.target == "stylized":  # the style images are PETs of the training split
        rows += cohort.rows("train")
    subjects = {row.subject for row in rows}
    before = [] if training.init is None else [people_of(training.init)]
    path = run / PEOPLE
    there = None
    if path.is_file():
        tree = read_description(path)
        there = (sorted(tree["subjects"]), bool(tree["whole"]))
        before.append(Seen(frozenset(tree["subjects"]), bool(tree["whole"])))
    for seen in before:
        subjects |= seen.subjects if seen is not None else set()
    whole = all(seen is not None and seen.whole for seen in before)
    if there != (sorted(subjects), whole):
        write_description(path, {"subjects": sorted(subjects), "whole": whole})
