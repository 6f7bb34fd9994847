"""What becomes of an image of a source: taken, or left out for one of the reasons here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from mri2pet.cohort.importing.index import Copy

#: Reason → whether it is a fault of the data and not a rule.
REASONS = {
    "taken": False,
    "not_t1": False,
    "contrast": False,
    "derived_space": False,
    "other_tracer": False,
    "early_phase": False,
    "other_step": False,
    "qc_failed": False,
    "worse_duplicate": False,
    "withdrawn": False,
    "not_chosen": False,
    "marked_unusable": False,
    "not_downloaded": False,
    "no_date": True,
    "date_conflict": True,
    "id_conflict": True,
    "wrong_modality": True,
    "incomplete_series": True,
    "unreadable": True,
}
#: Faults that end with exit code 3; an image without any date is told of in the table alone.
FAULTS = frozenset(
    {"unreadable", "incomplete_series", "wrong_modality", "id_conflict", "date_conflict"}
)


@dataclass(slots=True)
class Decision:
    """One image of the source.

    Attributes:
        image: its id as tables show it.
        subject: the study's code of the person.
        participant: `sub-…`; '' where nobody is known.
        session: `ses-…`, '' where it has no date.
        kind: `mri` or `pet`.
        reason: one of `REASONS`.
        place: of the source, for tables.
        day: of the acquisition; `time` of the day where a folder has it.
        file: relative to the output, '' for what is not taken.
        sidecar: what the source's own sidecar says and may be written.
        content: tells the source apart from others of its size, where its id may pass to another.
    """

    image: str
    subject: str = ""
    participant: str = ""
    session: str = ""
    kind: str = "mri"
    reason: str = ""
    place: str = ""
    description: str = ""
    step: str = ""
    tracer: str = ""
    day: date | None = None
    time: str = ""
    date_from: str = ""
    field_strength: str = ""
    qc: str = ""
    frames: str = ""
    file: str = ""
    notes: tuple[str, ...] = ()
    copy: Copy | None = None
    sidecar: dict[str, Any] = field(default_factory=dict)
    content: str = ""

    @property
    def taken(self) -> bool:
        return self.reason == "taken"

    def note(self, *texts: str) -> None:
        """Adds to the notes what they do not hold yet."""
        self.notes = tuple(dict.fromkeys((*self.notes, *filter(None, texts))))

    def leave_out(self, reason: str, *notes: str) -> None:
        self.reason = reason
        self.note(*notes)


@dataclass(frozen=True)
class Visit:
    """A label of a person at a day: `label` is `diagnosis` or `mmse`.

    Of a tree without dates the session tells when; neither means the person at any time.
    """

    subject: str
    label: str
    day: date | None
    value: str
    session: str = ""


@dataclass
class Plan:
    """All decisions on a source, and what the output's tables hold besides.

    `people`: code → facts for `participants.tsv`; `baselines`: code → day that sessions and
    `--dates days` count from; `ages`: (code, session) → years; `withdrawn`: how many people, where
    the decisions do not tell.
    """

    decisions: list[Decision]
    visits: list[Visit]
    people: dict[str, dict[str, str]]
    baselines: dict[str, date]
    ages: dict[tuple[str, str], str]
    notes: list[str]
    withdrawn: int = 0

    @property
    def taken(self) -> list[Decision]:
        return [decision for decision in self.decisions if decision.taken]


def shown_age(years: float | None) -> str:
    """One decimal; 89 and above is `89`, so that nobody is known by a great age."""
    if years is None or years < 0:
        return ""
    return "89" if years >= 89 else f"{years:.1f}".removesuffix(".0")


def counts(decisions: Sequence[Decision]) -> dict[str, int]:
    """Reason → how many images, in the order of `REASONS`."""
    found = dict.fromkeys(REASONS, 0)
    for decision in decisions:
        found[decision.reason] += 1
    return {reason: number for reason, number in found.items() if number}
