"""ADNI and PPMI: what differs between two studies of one archive."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """A study whose downloads have the archive's folders.

    Attributes:
        subject: what its codes of people look like.
        header_person: a DICOM's patient id is such a code.
        pets: its AV45 PETs are taken.
        visits: event → months since baseline, where the list's visit tells the session.
    """

    name: str
    prefix: str
    subject: re.Pattern[str]
    header_person: bool
    pets: bool
    dataset_type: str
    visits: dict[str, int]

    def participant(self, subject: str) -> str:
        """`sub-ADNI990S9001`, '' for what is no code of this study."""
        if not self.subject.fullmatch(subject):
            return ""
        return f"sub-{self.prefix}{subject.replace('_', '')}"


ADNI = Study("adni", "ADNI", re.compile(r"\d{3}_S_\d{4,5}"), True, True, "derivative", {})
PPMI = Study(
    "ppmi",
    "PPMI",
    re.compile(r"\d+"),
    False,
    False,
    "raw",
    {
        "SC": 0, "BL": 0, "V01": 3, "V02": 6, "V03": 9, "V04": 12, "V05": 18, "V06": 24,
        "V07": 30, "V08": 36, "V09": 42, "V10": 48, "V11": 54, "V12": 60, "V13": 72, "V14": 84,
        "V15": 96,
    },
)  # fmt: skip


def rid_of(subject: str) -> int | None:
    """The number that ADNI's tables key on: 9001 of `990_S_9001`."""
    found = re.search(r"_S_(\d+)$", subject)
    return int(found.group(1)) if found else None
