"""Images that a cohort does not use, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mri2pet.tables import write_tsv

#: Reason → what it means, for the documentation and the tests.
REASONS = {
    "not_bids": "lies or is named in another way than BIDS has it",
    "id_conflict": "folder and file name another person or session",
    "not_t1": "named a T1, but a localizer, 2D, a slab, one part or echo of an acquisition",
    "contrast": "taken with contrast agent",
    "derived_space": "made from another image",
    "other_tracer": "a PET of another tracer",
    "unknown_tracer": "a PET whose tracer is unknown, or named nowhere",
    "early_phase": "a PET of the perfusion phase",
    "other_step": "a PET of a reconstruction step that was not chosen",
    "not_chosen": "left out by --filter",
    "worse_duplicate": "another image of the same session goes first",
    "no_date": "in a session of its own, and dates are missing",
    "date_conflict": "two dates in the tables",
    "not_paired": "a PET without an MRI near enough that has no nearer PET",
    "not_downloaded": "a link whose target is not there",
    "unreadable": "cannot be read",
}
COLUMNS = ("file", "reason", "sentence")


@dataclass(frozen=True)
class PassedOver:
    """An image that is not used. `file` is relative to the cohort, `reason` one of `REASONS`."""

    file: str
    reason: str
    sentence: str


def write_passed_over(images: Sequence[PassedOver], path: Path) -> None:
    """One row per image: file relative to the cohort, reason, sentence."""
    write_tsv(path, COLUMNS, [vars(image) for image in images])


def counts(images: Sequence[PassedOver]) -> dict[str, int]:
    """Reason → how many images, in the order of `REASONS`."""
    found = Counter(image.reason for image in images)
    return {reason: found[reason] for reason in REASONS if found[reason]}


def counted(number: int, one: str, many: str = "") -> str:
    """`1 scan`, `2 scans`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
