"""The manifest: one row per MRI session of a cohort, with its PET, labels and split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mri2pet.cohort.bids import MAX_DAYS, Pair, Scan, find_pairs
from mri2pet.cohort.splits import FRACTIONS, split_subjects
from mri2pet.cohort.tables import number, read_tsv, write_tsv
from mri2pet.errors import InputError


@dataclass(frozen=True)
class ManifestRow:
    """One MRI and what is known with it. `truth` and `pet_truth` exist for simulated cohorts.

    `pet_truth` is the truth of the PET's own session, which may be another than the MRI's.
    """

    subject: str
    session: str
    t1: Path
    pet: Path | None = None
    days_apart: float | None = None
    truth: Path | None = None
    pet_truth: Path | None = None
    diagnosis: str | None = None
    mmse: float | None = None
    split: str = "train"

    @property
    def name(self) -> str:
        """`sub-0001_ses-01`, or `sub-0001` in a cohort without sessions."""
        return "_".join(filter(None, [self.subject, self.session]))


COLUMNS = tuple(field.name for field in fields(ManifestRow))
_PATHS = ("t1", "pet", "truth", "pet_truth")


@dataclass(frozen=True)
class Manifest:
    """The rows of a cohort in the order of their names; `root` is the BIDS folder."""

    root: Path
    rows: tuple[ManifestRow, ...]

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
    records = read_tsv(path)
    if not records or not set(COLUMNS) <= set(records[0]):
        raise InputError(f"{path}: is no manifest; expected the columns {', '.join(COLUMNS)}.")
    rows = []
    for record in records:
        values: dict[str, Any] = {column: record[column] or None for column in COLUMNS}
        for column in _PATHS:
            values[column] = root / record[column] if record[column] else None
        values["session"] = record["session"]
        values["mmse"] = number(record["mmse"])
        values["days_apart"] = number(record["days_apart"])
        rows.append(ManifestRow(**values))
    return Manifest(root, tuple(rows))


def build_manifest(
    data: Path | str,
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
    max_days: float = MAX_DAYS,
) -> Manifest:
    """Pairs, labels and the split of a BIDS cohort.

    Labels come from `phenotype/diagnosis.tsv` and `phenotype/mmse.tsv` (by subject and session),
    else from `participants.tsv`.

    Raises:
        InputError: no cohort in this folder. UsageError: impossible fractions.
    """
    root = Path(data).resolve()
    pairs = find_pairs(root, max_days=max_days)
    split = split_subjects((p.t1.subject for p in pairs), seed=seed, fractions=fractions)
    # Again for the subjects with a PET: in a small cohort each split must have one of them.
    with_pet = (p.t1.subject for p in pairs if p.pet is not None)
    split |= split_subjects(with_pet, seed=seed, fractions=fractions)
    diagnosis = _labels(root, "diagnosis")
    mmse = _labels(root, "mmse")
    rows = [
        ManifestRow(
            subject=pair.t1.subject,
            session=pair.t1.session,
            t1=pair.t1.path,
            pet=pair.pet.path if pair.pet else None,
            days_apart=pair.days_apart,
            truth=_truth(root, pair.t1),
            pet_truth=_truth(root, pair.pet) if pair.pet else None,
            diagnosis=_label(diagnosis, pair),
            mmse=number(_label(mmse, pair)),
            split=split[pair.t1.subject],
        )
        for pair in pairs
    ]
    return Manifest(root, tuple(sorted(rows, key=lambda row: row.name)))


def _truth(root: Path, scan: Scan) -> Path | None:
    folder = root / "derivatives" / "truth" / scan.subject / scan.session
    path = folder / f"{'_'.join(filter(None, [scan.subject, scan.session]))}_truth.json"
    return path if path.is_file() else None


def _labels(root: Path, label: str) -> dict[tuple[str, str], str]:
    rows = read_tsv(root / "participants.tsv") + read_tsv(root / "phenotype" / f"{label}.tsv")
    return {
        (row["participant_id"], row.get("session_id", "")): row[label]
        for row in rows
        if row.get("participant_id") and row.get(label)
    }


def _label(labels: dict[tuple[str, str], str], pair: Pair) -> str | None:
    subject = pair.t1.subject
    return labels.get((subject, pair.t1.session)) or labels.get((subject, ""))
