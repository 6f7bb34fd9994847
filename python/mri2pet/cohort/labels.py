"""Diagnosis, MMSE and the like of a BIDS cohort, taken from the visit nearest to a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mri2pet.cohort.bids import Scan, session_days, subject_sessions
from mri2pet.tables import read_table


@dataclass(frozen=True)
class _Visit:
    session: str
    days: float | None
    value: str


class Labels:
    """One label of all subjects, by the date of the visit where it was found.

    It is read from `participants.tsv` and `phenotype/<label>.tsv`. A row of the latter belongs to
    a visit by `session_id`; its date is its own `acq_time`, or that of the session.

    Args:
        root: the BIDS folder.
        label: the column, such as `diagnosis`.
    """

    def __init__(self, root: Path, label: str) -> None:
        self._visits: dict[str, list[_Visit]] = {}
        for row in read_table(root / "participants.tsv") + read_table(
            root / "phenotype" / f"{label}.tsv"
        ):
            subject, value = row.get("participant_id"), row.get(label)
            if not subject or not value:
                continue
            session = row.get("session_id", "")
            days = session_days(row)
            if days is None and session:
                days = session_days(subject_sessions(root / subject).get(session, {}))
            self._visits.setdefault(subject, []).append(_Visit(session, days, value))

    def of(self, scan: Scan) -> str | None:
        """The label of the scan's own session, else of the nearest dated visit, else undated."""
        visits = self._visits.get(scan.subject, [])
        own = [v for v in visits if scan.session and v.session == scan.session]
        if own:
            return own[-1].value
        dated = [v for v in visits if v.days is not None]
        if scan.days is not None and dated:
            day = scan.days
            return min(dated, key=lambda v: abs((v.days or 0.0) - day)).value
        undated = [v for v in visits if not v.session]
        return undated[-1].value if undated else None
