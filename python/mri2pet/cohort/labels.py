"""Diagnosis, MMSE, age and sex of a BIDS cohort, taken from the visit nearest to a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mri2pet.cohort.bids import Found, Scan
from mri2pet.cohort.dates import SESSION, DateConflictError, Row, When, cell, when
from mri2pet.cohort.names import matched
from mri2pet.errors import UsageError
from mri2pet.tables import number, read_table

LABEL_DAYS = 183.0  # half the interval of yearly visits
LABELS = ("diagnosis", "mmse")  # whose columns a user may name
COLUMNS = {
    "diagnosis": ("diagnosis", "dx", "group"),  # without regard to case
    "mmse": ("mmse", "mmscore"),
    "age": ("age",),
    "sex": ("sex", "gender"),
}
MMSE_RANGE = (0.0, 30.0)
AGE_RANGE = (0.0, 120.0)  # years
DAYS_A_YEAR = 365.25
PERSON = "participant_id"

_MISSING = frozenset({"", "na", "n/a", "nan", "-1", "-4", "-1.0", "-4.0"})
_DIAGNOSES = {
    "CN": ("cn", "nl", "normal", "smc", "cognitively normal"),
    "MCI": ("mci", "emci", "lmci", "mild cognitive impairment"),
    "AD": ("ad", "dementia", "alzheimer's disease"),
}
_DIAGNOSIS_OF = {word: name for name, words in _DIAGNOSES.items() for word in words}
_SEXES = {"M": ("m", "male"), "F": ("f", "female")}
_SEX_OF = {word: name for name, words in _SEXES.items() for word in words}
# Where two tables speak of one visit, the first of these is right.
_PHENOTYPE, _SESSIONS, _PARTICIPANTS = range(3)


@dataclass(frozen=True)
class Label:
    """A value, and the days from the scan to the visit where it was found (None: undated)."""

    value: str
    days: float | None = None


@dataclass(frozen=True)
class _Visit:
    session: str
    when: When | None
    value: str
    source: int


class Labels:
    """One label of all people, by the visits where it was found.

    It stands in `participants.tsv`, in `*_sessions.tsv` or in any `phenotype/*.tsv`. A row belongs
    to a visit by `session_id`; its date is its own, or that of the session.

    Args:
        root: the BIDS folder.
        label: `diagnosis`, `mmse`, `age` or `sex`.
        found: the people and their sessions.
        column: where it stands; None for the usual names.
        max_days: from a visit to a scan.

    Attributes:
        notes: what was not understood or contradicts itself, one sentence each.

    Raises:
        InputError: a table cannot be read. UsageError: the column is in no table.
    """

    def __init__(
        self,
        root: Path,
        label: str,
        found: Found,
        *,
        column: str | None = None,
        max_days: float = LABEL_DAYS,
    ) -> None:
        self.notes: list[str] = []
        self._label, self._max_days = label, max_days
        self._columns = (column,) if column else COLUMNS[label]
        self._unknown: Counter[str] = Counter()
        self._contradictions = 0
        self._visits: dict[str, list[_Visit]] = {}
        self._found = found
        self._seen = False
        tables = [(root / "participants.tsv", _PARTICIPANTS)]
        tables += [(path, _PHENOTYPE) for path in sorted((root / "phenotype").glob("[!.]*.tsv"))]
        for path, source in tables:
            self._read(read_table(path), source)
        for subject, visits in found.visits.items():
            for session, rows in visits.items():
                for row in rows:
                    self._add(subject, session, row, _SESSIONS)
        if column and not self._seen:
            raise UsageError(f"--label-columns {label}={column}: no table has that column")
        if self._unknown:
            each = ", ".join(f"{w!r} ({n} times)" for w, n in sorted(self._unknown.items()))
            self.notes.append(f"{label}: not understood and taken as missing: {each}")

    def of(self, scan: Scan) -> Label | None:
        """The label of the scan's session, else of the nearest dated visit, else of the person.

        The nearest is at most `max_days` away; of two as near it is the earlier.
        """
        visits = self._visits.get(scan.subject, [])
        own = [v for v in visits if scan.session and v.session == scan.session]
        for source in (_PHENOTYPE, _SESSIONS, _PARTICIPANTS):
            if (label := self._agreed([v for v in own if v.source == source], scan)) is not None:
                return label
        dated = [
            (abs(days), days, v.source, v)
            for v in visits
            if (days := _days_to(scan, v)) is not None and abs(days) <= self._max_days
        ]
        for nearest in sorted({item[:3] for item in dated}):
            same = [item[3] for item in dated if item[:3] == nearest]
            if (label := self._agreed(same, scan)) is not None:
                return label
        undated = [v for v in visits if not v.session and v.when is None]
        for source in (_PHENOTYPE, _PARTICIPANTS):
            if (
                label := self._agreed([v for v in undated if v.source == source], scan)
            ) is not None:
                return label
        return None

    def visits(self, subject: str) -> list[tuple[str, When | None, str]]:
        """(session or '', date, value) of a person, one a visit: the table that goes first.

        Where that table gives two values for a visit there is none.
        """
        same: dict[tuple[str, When | None], list[_Visit]] = {}
        for visit in self._visits.get(subject, []):
            same.setdefault((visit.session, visit.when), []).append(visit)
        found = []
        for (session, moment), visits in same.items():
            first = min(visit.source for visit in visits)
            values = {visit.value for visit in visits if visit.source == first}
            if len(values) == 1:
                found.append((session, moment, values.pop()))
        return found

    def contradictions(self) -> list[str]:
        """A sentence if tables gave two values for one visit, after all labels were asked for."""
        if not self._contradictions:
            return []
        text = "two values in one table for one visit, taken as missing"
        return [f"{self._label}: {self._contradictions} scans have {text}"]

    def _read(self, rows: Sequence[Row], source: int) -> None:
        people = {cell(row, PERSON) for row in rows} - {""}
        names = matched(people, self._found.visits, "sub-")
        by_person: dict[str, list[Row]] = {}
        for row in rows:
            if (subject := names.get(cell(row, PERSON))) is not None:
                by_person.setdefault(subject, []).append(row)
        for subject, own in by_person.items():
            labels = {cell(row, SESSION) for row in own} - {""}
            sessions = matched(labels, self._found.visits[subject], "ses-")
            for row in own:
                label = cell(row, SESSION)
                self._add(subject, sessions.get(label, label), row, source)

    def _add(self, subject: str, session: str, row: Row, source: int) -> None:
        names = {name.casefold() for name in row}
        self._seen = self._seen or any(c.casefold() in names for c in self._columns)
        value = self._value([cell(row, column) for column in self._columns])
        if value is None:
            return
        self._visits.setdefault(subject, []).append(
            _Visit(session, self._when(subject, session, row), value, source)
        )

    def _when(self, subject: str, session: str, row: Row) -> When | None:
        try:
            own = when([row])
            if own is not None or not session:
                return own
            return when(self._found.visits[subject].get(session, []))
        except DateConflictError:
            return None

    def _value(self, cells: Sequence[str]) -> str | None:
        """The first cell that is not missing, as CN, MCI, AD or a score."""
        for text in cells:
            if is_missing(text):
                continue
            value = _READ[self._label](text)
            if value is not None:
                return value
            self._unknown[text] += 1
        return None

    def _agreed(self, visits: Sequence[_Visit], scan: Scan) -> Label | None:
        values = {visit.value for visit in visits}
        if len(values) > 1:
            self._contradictions += 1
            return None
        return Label(values.pop(), _days_to(scan, visits[0])) if values else None


def age_at(ages: Labels, scan: Scan, first: When | None) -> float | None:
    """Years at the time of a scan, None if unknown.

    The age of a dated visit is moved by the days between; an undated one (`participants.tsv`) is
    that at the person's first scan.

    Args:
        ages: of the label `age`, with `max_days` infinite.
        first: when the person's first scan was.
    """
    label = ages.of(scan)
    if label is None:
        return None
    days = label.days
    if days is None and scan.when is not None and scan.when.apart(first) is not None:
        days = first.days - scan.when.days if first is not None else None
    return round(float(label.value) - (days or 0.0) / DAYS_A_YEAR, 2)


def label_columns(text: str) -> dict[str, str]:
    """Reads `diagnosis=COLUMN,mmse=COLUMN`; one of them is enough.

    Raises:
        UsageError: another form or label.
    """
    columns: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        label, equals, column = part.partition("=")
        if label not in LABELS or not equals or not column:
            raise UsageError(f"--label-columns {text!r} must be like diagnosis=DX,mmse=MMSCORE")
        columns[label] = column
    return columns


def unmatched_people(root: Path, subjects: Mapping[str, object]) -> list[str]:
    """A sentence if `participants.tsv` names people that are no folder, or not certainly one."""
    rows = read_table(root / "participants.tsv")
    names = {cell(row, PERSON) for row in rows} - {""}
    if rows and not names:
        return [f"participants.tsv: has no column {PERSON}, so it says nothing of anybody"]
    lost = sorted(names - set(matched(names, subjects, "sub-")))
    if not lost:
        return []
    shown = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
    return [f"participants.tsv: {len(lost)} of {len(names)} people are no sub- folder ({shown})"]


def _days_to(scan: Scan, visit: _Visit) -> float | None:
    if scan.when is None or scan.when.apart(visit.when) is None or visit.when is None:
        return None
    return visit.when.days - scan.when.days


def is_missing(text: str) -> bool:
    """Whether a cell of a clinical table holds no value: blank, `NA`, -1, -4."""
    return text.strip().casefold() in _MISSING


def read_diagnosis(text: str) -> str | None:
    """CN, MCI or AD of the words that tables use; of `A to B` it is B. None for other words."""
    word = " ".join(text.casefold().split())
    return _DIAGNOSIS_OF.get(word.rpartition(" to ")[2])


def read_mmse(text: str) -> str | None:
    """A score of 0 to 30, None for everything else."""
    score = number(text)
    low, high = MMSE_RANGE
    return None if score is None or not low <= score <= high else f"{score:g}"


def _age(text: str) -> str | None:
    years = number(text.removesuffix("+"))  # BIDS writes 89+ of the oldest
    low, high = AGE_RANGE
    return None if years is None or not low <= years <= high else f"{years:g}"


_READ: dict[str, Callable[[str], str | None]] = {
    "diagnosis": read_diagnosis,
    "mmse": read_mmse,
    "age": _age,
    "sex": lambda text: _SEX_OF.get(text.casefold()),
}
