"""Who trains and who is tested: labelled scans of a cohort, with nobody on both sides."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.downstream.settings import MMSE_MIN, Pet, Setting, Task
from mri2pet.errors import InputError, UsageError
from mri2pet.training.people import Seen

FEWEST_TRAINING, FEWEST_TEST = 5, 2
HELD_OUT = ("train", "val")


@dataclass(frozen=True)
class Example:
    """A scan with its label and what stands for its PET."""

    row: ManifestRow
    label: float
    pet: Pet


@dataclass(frozen=True)
class Groups:
    """The labelled scans of a task.

    Attributes:
        pairs: MRI–PET pairs of the training and validation splits.
        alone: MRIs of these splits that have no PET.
        test: pairs of the test split.
        labels: row name → class number or score.
        notes: what was left out, a sentence each.
    """

    pairs: list[ManifestRow]
    alone: list[ManifestRow]
    test: list[ManifestRow]
    labels: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def training_set(self, setting: Setting) -> list[Example]:
        """What a setting trains on."""
        parts = ((self.pairs, setting.pairs), (self.alone, setting.alone))
        return [
            Example(row, self.labels[row.name], pet)
            for rows, pet in parts
            if pet is not None
            for row in rows
        ]

    def test_set(self, setting: Setting) -> list[Example]:
        """The real MRI and the real PET of the test split, for every setting the same people."""
        pet: Pet = "measured" if "pet" in setting.inputs else "none"
        return [Example(row, self.labels[row.name], pet) for row in self.test]


def find_groups(
    cohort: CohortCache,
    task: Task,
    *,
    as_paper: bool = False,
    mmse_min: float = MMSE_MIN,
    prepared: bool = True,
) -> Groups:
    """The labelled scans.

    Nobody of the test split trains, whatever the session and the split of a row says; only a
    cohort that is split by scan, to compare with the paper, keeps such people, with a note.

    Args:
        as_paper: every scan of a person has the diagnosis of the last one in the table, as in the
            authors' code.
        mmse_min: scans with a lower score are left out.
        prepared: those in model space alone; else all, to look before the work begins.

    Raises:
        InputError: no labels, a class without people, or too few people.
    """
    manifest, notes = cohort.manifest, []
    rows_of = cohort.rows if prepared else manifest.select
    tested = {row.subject for row in manifest if row.split == "test"}
    rows = [row for split in HELD_OUT for row in rows_of(split, paired=False)]
    both = {row.subject for row in manifest if row.split in HELD_OUT} & tested
    if both and manifest.split_by == "scan":
        notes.append(
            f"The cohort is split by scan: {len(both)} people train and are tested, so every "
            "figure flatters; it stands here to compare with the paper alone."
        )
    elif both:
        kept = [row for row in rows if row.subject not in tested]
        notes.append(
            f"{len(rows) - len(kept)} scans of {len(both)} people of the test split do not train."
        )
        rows = kept
    labels = _labels(cohort, task, as_paper, mmse_min)
    labelled = [row for row in rows if row.name in labels]
    test = [row for row in rows_of("test") if row.name in labels]
    groups = Groups(
        [row for row in labelled if row.pet is not None],
        [row for row in labelled if row.pet is None],
        test,
        labels,
        notes,
    )
    _check(groups, task, str(manifest.root))
    return groups


def _labels(cohort: CohortCache, task: Task, as_paper: bool, mmse_min: float) -> dict[str, float]:
    found = {row.name: task.label(row, mmse_min) for row in cohort.manifest}
    if as_paper and task.classes:
        last = {row.subject: found[row.name] for row in cohort.manifest if row.diagnosis}
        found = {row.name: last.get(row.subject) for row in cohort.manifest}
    return {name: label for name, label in found.items() if label is not None}


def _check(groups: Groups, task: Task, root: str) -> None:
    what = "a diagnosis" if task.classes else "an MMSE in the range that was asked for"
    for rows, fewest, where in (
        (groups.pairs, FEWEST_TRAINING, "train and val splits"),
        (groups.test, FEWEST_TEST, "test split"),
    ):
        people = len({row.subject for row in rows})
        if people < fewest:
            raise InputError(
                f"{root}: {people or 'none'} of the people with an MRI-PET pair in the {where} "
                f"{'has' if people < 2 else 'have'} {what}, and {fewest} are needed; give labels "
                "(phenotype/*.tsv, docs/cohort.md) or more people."
            )
    there = Counter(groups.labels[row.name] for row in groups.pairs)
    lacking = [name for place, name in enumerate(task.classes) if not there[place]]
    if lacking:
        raise InputError(
            f"{root}: nobody with an MRI-PET pair in the train and val splits is "
            f"{' or '.join(lacking)}, so it cannot be learnt; give more people, or another task."
        )


def without_tested(cohort: CohortCache) -> CohortCache:
    """The cohort with nobody of the test split in the others, for what is fitted to them."""
    manifest = cohort.manifest
    tested = {row.subject for row in manifest if row.split == "test"}
    rows = [row for row in manifest if row.split == "test" or row.subject not in tested]
    return replace(cohort, manifest=replace(manifest, rows=tuple(rows)))


def check_generator(
    model: str, seen: Seen | None, cohort: CohortCache, *, unseen: bool = False
) -> list[str]:
    """Refuses a model that people of the test split trained, in its pre-training or style transfer.

    Args:
        model: as the user named it.
        seen: whom it has seen; None where nothing is recorded.
        unseen: the user says that it has seen nobody of this cohort.

    Returns:
        Notes for the table: of a cohort split by scan, or of what the user says.

    Raises:
        UsageError: it has seen such people, or does not say whom.
    """
    tested = {row.subject for row in cohort.manifest if row.split == "test"}
    if unseen:
        return [f"Whom {model} has seen was not checked: nobody of this cohort, as was said."]
    if seen is None or not seen.whole:
        raise UsageError(
            f"--model {model}: does not record whom it has seen; name the folder of its training "
            "run, or say --unseen if it has seen nobody of this cohort"
        )
    known = sorted(seen.subjects & tested)
    if not known:
        return []
    if cohort.manifest.split_by == "scan":
        return [f"The model has seen {len(known)} people of the test split."]
    raise UsageError(
        f"--model {model}: {len(known)} people of the test split trained it ({known[0]} …); take "
        "the table by which it was trained, or say --unseen if these are others of the same name"
    )
