"""Dates of archives: how tables write them, and which of several is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

_YEAR_FIRST = re.compile(r"(\d{4})[-/](\d\d?)[-/](\d\d?)(?:[T ].*)?$")
_YEAR_LAST = re.compile(r"(\d\d?)/(\d\d?)/(\d{4}|\d\d)(?:\s.*)?$")
#: From the most to the least believed, where all agree and no folder says it.
ORDER = ("header", "xml", "folder", "list")


def day_first(cells: Iterable[str]) -> bool:
    """Whether a file writes D/M/YYYY: if the first number of any of its dates is above 12."""
    found = (_YEAR_LAST.match(cell.strip()) for cell in cells)
    return any(match is not None and int(match.group(1)) > 12 for match in found)


def read_day(text: str, *, day_first: bool = False) -> date | None:
    """`2012-03-05`, `3/5/2012` or `3/5/12` (20YY), with or without a time; None for no date."""
    text = text.strip()
    try:
        if found := _YEAR_FIRST.match(text):
            return date(*map(int, found.groups()))
        if found := _YEAR_LAST.match(text):
            one, two, year = map(int, found.groups())
            year += 2000 if year < 100 else 0
            return date(year, two, one) if day_first else date(year, one, two)
    except ValueError:
        return None
    return None


def month_and_year(text: str) -> tuple[int, int] | None:
    """(year, month) of `08/1940`, None for everything else."""
    found = re.fullmatch(r"(\d\d?)/(\d{4})", text.strip())
    if found is None or not 1 <= int(found.group(1)) <= 12:
        return None
    return int(found.group(2)), int(found.group(1))


@dataclass(frozen=True, slots=True)
class Agreed:
    """The date of an image. `source` is one of `ORDER`; `reason` is set where there is none."""

    day: date | None
    source: str = ""
    reason: str = ""
    note: str = ""


def agreed(dates: Mapping[str, Sequence[date]]) -> Agreed:
    """One date out of those of header, XML, folder and list.

    All within a day of each other: the folder's, else the first in `ORDER`. Otherwise those that
    agree with most others, if these are two and more and no others are as many.
    """
    said = [(source, day) for source in ORDER for day in dates.get(source, ())]
    if not said:
        return Agreed(None, reason="no_date", note="no header, XML, folder or list gives a date")
    near = {
        frozenset(i for i, (_, other) in enumerate(said) if abs((other - day).days) <= 1)
        for _, day in said
    }
    most = max(map(len, near))
    winners = [group for group in near if len(group) == most]
    if len(winners) > 1 or (most < 2 and len(said) > 1):
        sources = ", ".join(dict.fromkeys(source for source, _ in said))
        note = f"the dates of {sources} are more than a day apart"
        return Agreed(None, reason="date_conflict", note=note)
    right = [said[i] for i in sorted(winners[0])]
    source, day = next((item for item in right if item[0] == "folder"), right[0])
    others = dict.fromkeys(s for i, (s, _) in enumerate(said) if i not in winners[0])
    note = f"another date in {', '.join(others)}" if others else ""
    return Agreed(day, source, note=note)
