"""The manifest: one row per MRI session of a cohort, with its PET, labels and split.

On disk it is a table. Beside a table that a user keeps lie a JSON file of the same name (where the
cohort is, the seed, the fractions, whether people or scans were split) and a table of the images
that were left out.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mri2pet.cohort.bids import MAX_DAYS, Found, Pair, Scan, find_pairs
from mri2pet.cohort.choice import STEP_UNKNOWN
from mri2pet.cohort.dates import When
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.importing.names import read_key
from mri2pet.cohort.labels import LABEL_DAYS, Label, Labels, age_at, unmatched_people
from mri2pet.cohort.passed_over import counted, counts, write_passed_over
from mri2pet.cohort.splits import FRACTIONS, SPLITS, split_subjects
from mri2pet.errors import InputError, UsageError
from mri2pet.files import written_whole
from mri2pet.tables import number, read_table, write_tsv

SPLIT_BY = ("subject", "scan")


@dataclass(frozen=True)
class ManifestRow:
    """One MRI and what is known with it. `truth` and `pet_truth` exist for simulated cohorts.

    `pet_truth` is the truth of the PET's own session, which may be another than the MRI's.
    `pair_days_signed` runs from the MRI to the PET; `step` is the PET's reconstruction step,
    `resolution_mm` what it was smoothed to. `diagnosis_days` and `mmse_days` run from the MRI to
    the visit; None for an undated one. `age` is that at the MRI, in years; `sex` is M or F; `day`
    counts from the person's first MRI.
    """

    subject: str
    session: str
    t1: Path
    pet: Path | None = None
    days_apart: float | None = None
    pair_days_signed: float | None = None
    step: str | None = None
    resolution_mm: float | None = None
    truth: Path | None = None
    pet_truth: Path | None = None
    diagnosis: str | None = None
    diagnosis_days: float | None = None
    mmse: float | None = None
    mmse_days: float | None = None
    age: float | None = None
    sex: str | None = None
    day: float | None = None
    split: str = "train"

    @property
    def name(self) -> str:
        """`sub-0001_ses-01`, or `sub-0001` in a cohort without sessions."""
        return "_".join(filter(None, [self.subject, self.session]))


COLUMNS = tuple(field.name for field in fields(ManifestRow))
_NUMBERS = (
    "mmse", "days_apart", "pair_days_signed", "resolution_mm", "diagnosis_days", "mmse_days", "age",
    "day",
)  # fmt: skip
_PATHS = ("t1", "pet", "truth", "pet_truth")


@dataclass(frozen=True)
class Manifest:
    """The rows of a cohort in the order of their names; `root` is the BIDS folder.

    `split_by` says what was divided: "subject", or "scan" as in the paper, where one person's
    scans may train and test. `found` is what the tree holds besides, None for a table that was
    read.
    """

    root: Path
    rows: tuple[ManifestRow, ...]
    split_by: str = "subject"
    found: Found | None = field(default=None, compare=False, repr=False)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, split: str | None = None, *, paired: bool = True) -> list[ManifestRow]:
        """The rows of a split (all splits for None); with `paired`, those that have a PET."""
        return [
            row
            for row in self.rows
            if (split is None or row.split == split) and (row.pet is not None or not paired)
        ]

    def summary(self, listed_in: Path | str) -> list[str]:
        """What of a tree was taken, what was left out, and what is doubtful, a line each.

        Of a table that was read only the warning on its steps: the rest was said when it was made.
        `listed_in` is where the images that were left out stand.
        """
        if self.found is None:
            return self._mixed()
        pets = len(self.select())
        steps = ", ".join(step if step == STEP_UNKNOWN else f"rec-{step}" for step in self.steps)
        of_step = f" ({'step ' if self.steps == [STEP_UNKNOWN] else ''}{steps})" if steps else ""
        lines = [f"taken: {counted(len(self), 'T1')} and {counted(pets, 'AV45 PET')}{of_step}"]
        if left_out := counts(self.found.passed_over):
            each = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            lines.append(f"left out: {each}; why of each: {listed_in}")
        return lines + self._mixed() + [f"warning: {note}" for note in self.found.notes]

    def _mixed(self) -> list[str]:
        if len(self.steps) < 2:
            return []
        each = ", ".join(self.steps)
        lines = [f"warning: PETs of several reconstruction steps are mixed, as chosen: {each}"]
        trained = {row.step for row in self.select("train")}
        other = {row.step for row in self.select() if row.step not in trained}
        if other:
            text = "are of no PET that trains, so the other splits measure something else"
            lines.append(f"warning: the steps {', '.join(sorted(filter(None, other)))} {text}")
        return lines

    @property
    def steps(self) -> list[str]:
        """Reconstruction steps of the PETs that are taken, the most frequent first."""
        paired = Counter(row.step or STEP_UNKNOWN for row in self.select())
        taken = self.found.steps if self.found is not None else paired
        return sorted(taken, key=lambda step: (-taken[step], step))

    def write(self, path: Path) -> None:
        """A table with paths relative to the cohort."""
        write_tsv(path, COLUMNS, (self._record(row) for row in self.rows))

    def _record(self, row: ManifestRow) -> dict[str, Any]:
        record = {column: getattr(row, column) for column in COLUMNS}
        for column in _PATHS:
            if record[column] is not None:
                record[column] = record[column].relative_to(self.root).as_posix()
        record["session"] = row.session or None
        return record


def read_manifest(path: Path, root: Path) -> Manifest:
    """The manifest that `Manifest.write` wrote, for the cohort at `root`.

    Raises:
        InputError: the file is missing or lacks columns.
    """
    records = read_table(path)
    if not records or not set(COLUMNS) <= set(records[0]):
        raise InputError(
            f"{path}: is no manifest, or one of another version; expected the columns "
            f"{', '.join(COLUMNS)}; make it again with mri2pet cohort build."
        )
    rows = []
    for record in records:
        values: dict[str, Any] = {column: record[column] or None for column in COLUMNS}
        for column in _PATHS:
            values[column] = root / record[column] if record[column] else None
        values["session"] = record["session"]
        for column in _NUMBERS:
            values[column] = number(record[column])
        rows.append(ManifestRow(**values))
    return Manifest(root, tuple(rows))


def build_manifest(
    data: Path | str,
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
    max_days: float = MAX_DAYS,
    split_by: str = "subject",
    filters: Sequence[str] = (),
    use_contrast: bool = False,
    label_days: float = LABEL_DAYS,
    label_columns: Mapping[str, str] | None = None,
    pseudonyms: Path | None = None,
) -> Manifest:
    """Pairs, labels and the split of a BIDS cohort.

    Args:
        max_days: between the MRI and the PET of a pair.
        split_by: "subject", or "scan": every MRI session is divided on its own, as the authors of
            the paper do, so a person may train and test.
        filters: `SUFFIX:ENTITY=LABEL[,LABEL…]`, see `filters.Filters`.
        use_contrast: take T1s with contrast agent too.
        label_days: from an MRI to the visit that diagnosis and MMSE are taken from, see
            `labels.Labels`.
        label_columns: label → column, where it is none of the usual.
        pseudonyms: key of `mri2pet cohort import`; people are split by their own codes, as they
            are without pseudonyms.

    Raises:
        InputError: no cohort in this folder, or no key in this file.
        UsageError: impossible fractions, `split_by`, filters or columns; PETs of several
            reconstruction steps and no filter.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"split by {split_by!r} is none of {', '.join(SPLIT_BY)}")
    wanted = Filters.of(filters)
    root = Path(data).resolve()
    found = find_pairs(root, max_days=max_days, filters=wanted, use_contrast=use_contrast)
    pairs = found.pairs
    original = {} if pseudonyms is None else read_key(pseudonyms)

    def unit(pair: Pair) -> str:
        person = original.get(pair.t1.subject, pair.t1.subject)
        return person if split_by == "subject" else f"{person}_{pair.t1.session}"

    split = split_subjects(map(unit, pairs), seed=seed, fractions=fractions)
    # Again for those with a PET: in a small cohort each split must have one of them.
    with_pet = (unit(pair) for pair in pairs if pair.pet is not None)
    split |= split_subjects(with_pet, seed=seed, fractions=fractions)
    labels = _Labels.of(root, found, label_days, label_columns or {})
    rows = [_row(root, pair, split[unit(pair)], labels) for pair in pairs]
    found.notes.extend(unmatched_people(root, found.visits))
    for label in (labels.diagnosis, labels.mmse, labels.age, labels.sex):
        found.notes.extend([*label.notes, *label.contradictions()])
    return Manifest(root, tuple(sorted(rows, key=lambda row: row.name)), split_by, found)


@dataclass(frozen=True)
class _Labels:
    """What is known of people and visits, and when each person's first T1 was."""

    diagnosis: Labels
    mmse: Labels
    age: Labels
    sex: Labels
    first: dict[str, When]

    @classmethod
    def of(cls, root: Path, found: Found, days: float, columns: Mapping[str, str]) -> _Labels:
        diagnosis, mmse = (
            Labels(root, label, found, column=columns.get(label), max_days=days)
            for label in ("diagnosis", "mmse")
        )
        age, sex = (Labels(root, label, found, max_days=math.inf) for label in ("age", "sex"))
        dated = [(p.t1.subject, p.t1.when) for p in found.pairs if p.t1.when is not None]
        latest_first = sorted(dated, key=lambda item: item[1].days, reverse=True)
        return cls(diagnosis, mmse, age, sex, dict(latest_first))


def _row(root: Path, pair: Pair, split: str, labels: _Labels) -> ManifestRow:
    none = Label("")
    first = labels.first.get(pair.t1.subject)
    dx, score = labels.diagnosis.of(pair.t1) or none, labels.mmse.of(pair.t1) or none
    return ManifestRow(
        subject=pair.t1.subject,
        session=pair.t1.session,
        t1=pair.t1.path,
        pet=pair.pet.path if pair.pet else None,
        days_apart=pair.days_apart,
        pair_days_signed=pair.days_signed if pair.pet else None,
        step=pair.pet.step if pair.pet else None,
        resolution_mm=pair.pet.resolution_mm if pair.pet else None,
        truth=_truth(root, pair.t1),
        pet_truth=_truth(root, pair.pet) if pair.pet else None,
        diagnosis=dx.value or None,
        diagnosis_days=dx.days,
        mmse=number(score.value),
        mmse_days=score.days,
        age=age_at(labels.age, pair.t1, first),
        sex=(labels.sex.of(pair.t1) or none).value or None,
        day=first.apart(pair.t1.when) if first is not None else None,
        split=split,
    )


def steps_of(rows: Iterable[ManifestRow]) -> list[str]:
    """The reconstruction steps of some rows' PETs, sorted."""
    return sorted({row.step or STEP_UNKNOWN for row in rows if row.pet is not None})


def passed_over_table(path: Path) -> Path:
    """Where the images stand that a cohort's table leaves out: `cohort_passed_over.tsv`."""
    return path.with_name(f"{path.stem}_passed_over.tsv")


def write_cohort(manifest: Manifest, path: Path | str, **options: Any) -> dict[str, Any]:
    """Writes a manifest as a table to keep, and beside it a JSON file and what was left out.

    The JSON holds `options`, the counts, and the way from the table's folder to the cohort's.

    Returns:
        The content of the JSON file.

    Raises:
        UsageError: the name does not end in `.tsv`.
    """
    path = Path(path)
    if path.suffix != ".tsv":
        raise UsageError(f"{path}: a cohort's table must have a name that ends in .tsv")
    found = manifest.found or Found([])
    record = {
        "cohort": Path(os.path.relpath(manifest.root, path.parent.resolve())).as_posix(),
        "split_by": manifest.split_by,
        **options,
        "people": len({row.subject for row in manifest}),
        "people_in_several_splits": _in_several_splits(manifest),
        "splits": {split: _counts(manifest, split) for split in SPLITS},
        "pet_steps": found.steps,
        "left_out": counts(found.passed_over),
    }
    manifest.write(path)
    write_passed_over(found.passed_over, passed_over_table(path))
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(record, indent=2) + "\n")
    return record


def load_manifest(data: Path | str, *, seed: int = 0) -> Manifest:
    """The manifest of a BIDS folder, or the one in a table that `write_cohort` wrote.

    Raises:
        InputError: no cohort there; the table's JSON or the cohort's folder is missing.
    """
    path = Path(data)
    if not path.is_file():
        return build_manifest(path, seed=seed)
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        root = Path(os.path.normpath(path.parent.resolve() / record["cohort"]))
        split_by = record["split_by"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: {path.with_suffix('.json').name} is missing beside it or damaged; "
            "make both again with mri2pet cohort build."
        ) from None
    if not root.is_dir():
        raise InputError(f"{path}: its cohort {root} is not there; build the table again.")
    return Manifest(root, read_manifest(path, root).rows, split_by)


def _in_several_splits(manifest: Manifest) -> int:
    places = {(row.subject, row.split) for row in manifest}
    return sum(count > 1 for count in Counter(subject for subject, _ in places).values())


def _counts(manifest: Manifest, split: str) -> dict[str, int]:
    rows, pairs = manifest.select(split, paired=False), manifest.select(split)
    return {
        "people": len({row.subject for row in rows}),
        "pairs": len(pairs),
        "unpaired": len(rows) - len(pairs),
    }


def _truth(root: Path, scan: Scan) -> Path | None:
    folder = root / "derivatives" / "truth" / scan.subject / scan.session
    path = folder / f"{'_'.join(filter(None, [scan.subject, scan.session]))}_truth.json"
    return path if path.is_file() else None
