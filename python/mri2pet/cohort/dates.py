"""Dates of sessions and scans in days, from the tables of a BIDS tree."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mri2pet.cohort.names import matched
from mri2pet.tables import number, read_table

Row = dict[str, str]

_DATE = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d)(?:\.\d*)?)?)?\s*(?:Z|[+-]\d\d:?\d\d)?"
)
DATE_COLUMNS = ("acq_time", "examination_date")
SESSION = "session_id"
SAME_DAY = 1.0


class DateConflictError(ValueError):
    """Two dates of one scan or session that are more than a day apart."""


class When(NamedTuple):
    """A date in days, counted from the `origin`: "calendar" or "baseline"."""

    days: float
    origin: str

    def apart(self, other: When | None) -> float | None:
        """Days between two dates; None if they are counted from two origins, or one is missing."""
        if other is None or other.origin != self.origin:
            return None
        return abs(self.days - other.days)


def cell(row: Mapping[str, str], *columns: str) -> str:
    """The first of some columns that holds something; case of the header does not count."""
    folded = {key.casefold(): value for key, value in row.items()}
    return next((v for c in columns if (v := folded.get(c.casefold(), ""))), "")


def date_in_days(text: str) -> float | None:
    """An ISO 8601 date, with or without time, in whole days; the time zone is not looked at.

    The time of day does not count: a PET in the afternoon, a year after an MRI in the morning, is
    365 days away.
    BIDS permits dates that were shifted into the past, so only differences mean something.
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    try:
        moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return float(moment.toordinal())


def when(rows: Sequence[Row], kind: str = "mri") -> When | None:
    """The date of a scan or session by its rows in a table; None if they hold none.

    `acq_time`, then `examination_date`, then the days since baseline: `mri_days` or `pet_days` by
    `kind`, then `days_since_baseline`.

    Raises:
        DateConflictError: the rows contradict each other.
    """
    found = [moment for row in rows if (moment := _when(row, kind)) is not None]
    if not found:
        return None
    first = min(found)
    if any((first.apart(other) or 0.0) > SAME_DAY for other in found):
        raise DateConflictError
    return first


def unreadable_dates(rows: Sequence[Row]) -> list[str]:
    """What stands in the columns of dates and is no date."""
    cells = (cell(row, column) for row in rows for column in DATE_COLUMNS)
    return [text for text in cells if text and date_in_days(text) is None]


def session_rows(table: Sequence[Row], sessions: Collection[str]) -> dict[str, list[Row]]:
    """Session → its rows in a `*_sessions.tsv`; `M00` and `ses-M0` may mean `ses-M00`.

    Visits that have no folder keep the name that the table gives them.
    """
    names = matched({cell(row, SESSION) for row in table} - {""}, sessions, "ses-")
    found: dict[str, list[Row]] = {}
    for row in table:
        label = cell(row, SESSION)
        found.setdefault(names.get(label, label), []).append(row)
    return found


def scan_rows(subject_folder: Path, session: str) -> dict[str, list[Row]]:
    """File name → its rows in the `*_scans.tsv` of a person's folder and of a session's."""
    stem = subject_folder.name
    tables = [subject_folder / f"{stem}_scans.tsv"]
    if session:
        tables.append(subject_folder / session / f"{stem}_{session}_scans.tsv")
    found: dict[str, list[Row]] = {}
    for path in tables:
        for row in read_table(path):
            name = PurePosixPath(cell(row, "filename").replace("\\", "/")).name
            found.setdefault(name, []).append(row)
    return found


def _when(row: Row, kind: str) -> When | None:
    for column in DATE_COLUMNS:
        if (days := date_in_days(cell(row, column))) is not None:
            return When(days, "calendar")
    days = number(cell(row, f"{kind}_days"))
    if days is None:
        days = number(cell(row, "days_since_baseline"))
    return None if days is None else When(days, "baseline")
