"""Labels of sessions, and names of images, that tell no date."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?!\d)"  # a year
    r"|\d{5,}"  # 20120305, 050312, 201203051011
    r"|\d{1,4}[-._x]\d{1,2}[-._x]\d{1,4}"
    rf"|\d(?:{_MONTHS})|(?:{_MONTHS})[a-z]*\d",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"(?<![A-Za-z0-9])([a-z]+)-([A-Za-z0-9-]+)")
_BYTES = 1 << 16


def tells_date(text: str) -> bool:
    """Whether a label or text may hold a date: rather once too often than once too seldom."""
    return _DATE.search(text) is not None


def session_labels(days: Mapping[str, int | None]) -> dict[str, str]:
    """Session of one person → `ses-01`, `ses-02` … by their days; {} if no label tells a date.

    Args:
        days: session (`ses-…`, '' for none) → a day, None where it has none: such come last.
    """
    if not any(tells_date(session) for session in days):
        return {}
    order = sorted(days, key=lambda session: (days[session] is None, days[session] or 0, session))
    return {session: f"ses-{number:02d}" for number, session in enumerate(order, start=1)}


def undated(text: str, labels: Mapping[str, str]) -> str:
    """A path or sentence with other labels of sessions, and no date in any label but `sub-`."""

    def plain(found: re.Match[str]) -> str:
        whole, entity, label = found.group(0), found.group(1), found.group(2)
        if whole in labels:
            return labels[whole]
        return f"{entity}-date" if entity != "sub" and tells_date(label) else whole

    return _ENTITY.sub(plain, text)


def told_apart(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Image → its name without dates, of those whose name is another then; no name comes twice."""
    used: set[str] = set()
    found = {}
    for image, name in names:
        number = 2
        once = name
        while once in used:
            once, number = f"{name}#{number}", number + 1
        used.add(once)
        if once != image:
            found[image] = once
    return found


def content_of(path: Path) -> str:
    """A hash of the middle and the end of a file, which tells images of one size apart."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size // 2 - _BYTES // 2))
            middle = file.read(_BYTES)
            file.seek(max(0, size - _BYTES))
            return hashlib.sha256(middle + file.read(_BYTES)).hexdigest()[:16]
    except OSError:
        return ""
