"""The tables of an imported BIDS tree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from mri2pet import __version__
from mri2pet.cohort.importing.decision import Decision, Plan, counts
from mri2pet.cohort.importing.names import Names
from mri2pet.files import write_atomically
from mri2pet.tables import write_tsv

BIDS_VERSION = "1.10.0"
IMPORT_COLUMNS = (
    "image_id", "participant_id", "session_id", "taken", "reason", "file", "source",
    "description", "step", "tracer", "acq_date", "date_from", "field_strength", "qc", "note",
)  # fmt: skip
LICENSES = {
    "adni": "ADNI Data Use Agreement; not to be passed on",
    "ppmi": "PPMI Data Use Agreement; not to be passed on",
    "ukb": "UK Biobank Material Transfer Agreement; not to be passed on",
    "bids": "As of the source trees",
}
_LABEL_TEXT = {
    "diagnosis": "CN, MCI or AD at a visit",
    "mmse": "Mini-Mental State Examination at a visit, 0 to 30",
}


@dataclass(frozen=True)
class Writer:
    """Where and how the tables are written. With `days` no calendar date is.

    `sources`: name of a source → how it is shown.
    """

    root: Path
    study: str
    dataset_type: str
    sources: Mapping[str, str]
    names: Names
    days: bool

    def write(self, plan: Plan) -> None:
        """Every table but `import.tsv`; those of a person only for people with an image."""
        taken = defaultdict(list)
        for decision in plan.taken:
            taken[decision.subject].append(decision)
        self._description()
        self._participants(plan, taken)
        for subject, decisions in taken.items():
            self._person(plan, subject, decisions)
        for label, text in _LABEL_TEXT.items():
            self._phenotype(plan, label, text, taken)

    def import_table(self, plan: Plan) -> None:
        """One row for every image of the source."""
        rows = [self._row(plan, decision) for decision in plan.decisions]
        write_tsv(self.root / "sourcedata" / "import.tsv", IMPORT_COLUMNS, rows)

    def _row(self, plan: Plan, decision: Decision) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(IMPORT_COLUMNS)
        row |= {
            "image_id": self.names.of(decision.image),
            "taken": "yes" if decision.taken else "no",
            "reason": decision.reason,
        }
        if decision.reason == "withdrawn":
            return row
        place = decision.place
        if self.days or self.names.hidden:  # folders are named by code and date
            place = place.partition("/")[0]
            place = self.sources.get(place, place)
        facts = {
            "participant_id": self.names.of(decision.participant),
            "session_id": decision.session,
            "file": self.file(decision) if decision.taken else "",
            "source": place,
            "description": decision.description,
            "step": decision.step,
            "tracer": decision.tracer,
            "acq_date": self._day(plan, decision.subject, decision.day),
            "date_from": decision.date_from,
            "field_strength": decision.field_strength,
            "qc": decision.qc,
            "note": "; ".join(self._notes(decision)),
        }
        return row | {key: value or None for key, value in facts.items()}

    def _notes(self, decision: Decision) -> list[str]:
        if not self.names.hidden:
            return list(decision.notes)
        return [n for n in decision.notes if not (n.endswith(" goes first") or "sub-" in n)]

    def file(self, decision: Decision) -> str:
        """Of a taken image, relative to the output."""
        return self.names.file(decision.file, decision.participant)

    def _day(self, plan: Plan, subject: str, day: date | None) -> str:
        if day is None:
            return ""
        return str((day - plan.baselines[subject]).days) if self.days else day.isoformat()

    @property
    def _day_column(self) -> str:
        return "days_since_baseline" if self.days else "acq_time"

    def _moment(self, plan: Plan, decision: Decision) -> str | None:
        day = self._day(plan, decision.subject, decision.day)
        if not day:
            return None
        return day if self.days else f"{day}T{decision.time or '00:00:00'}"

    def _description(self) -> None:
        self._json(
            "dataset_description.json",
            {
                "Name": f"{self.study.upper()}, imported",
                "BIDSVersion": BIDS_VERSION,
                "DatasetType": self.dataset_type,
                "License": LICENSES[self.study],
                "GeneratedBy": [
                    {
                        "Name": "mri2pet",
                        "Version": __version__,
                        "Description": f"mri2pet cohort import {self.study}",
                    }
                ],
                "SourceDatasets": [
                    {"URL": "n/a", "Version": name} for name in self.sources.values()
                ],
            },
        )
        text = (
            f"Images of {self.study.upper()} as a BIDS tree, made by `mri2pet cohort import`.\n\n"
            "sourcedata/import.tsv says of every image of the source whether it was taken and "
            "why.\nWhole heads identify people: this tree, and models trained on it, fall under "
            "the study's agreement.\n"
        )
        write_atomically(self.root / "README", text.encode())
        # BIDS knows one row a person there, and people are visited more than once.
        write_atomically(self.root / ".bidsignore", b".part-*\nphenotype/\n")
        day = {"Description": "Days from the person's baseline", "Units": "day"}
        age = {"Description": "Age at the MRI, else at the PET", "Units": "year"}
        image = {"Description": "Id of the image in its source"}
        extra = {"days_since_baseline": day} if self.days else {}
        self._json("sessions.json", {**extra, "age": age})
        self._json("scans.json", {**extra, "image_id": image})

    def _participants(self, plan: Plan, taken: dict[str, list[Decision]]) -> None:
        rows = []
        for subject, decisions in taken.items():
            facts = plan.people.get(subject, {})
            first = min(decision.session for decision in decisions)
            rows.append(
                {
                    "participant_id": self.names.of(decisions[0].participant),
                    "age": plan.ages.get((subject, first)) or None,
                    "sex": facts.get("sex") or None,
                    "group": facts.get("group") or None,
                }
            )
        columns: tuple[str, ...] = ("participant_id", "age", "sex", "group")
        if not any(row["group"] for row in rows):
            columns = columns[:3]
        rows.sort(key=lambda row: str(row["participant_id"]))
        write_tsv(self.root / "participants.tsv", columns, rows)
        described = {
            "age": {"Description": "Age at the first session; 89 and above as 89", "Units": "year"},
            "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female"}},
            "group": {"Description": "Research group of the study"},
        }
        self._json("participants.json", {c: described[c] for c in columns[1:]})

    def _person(self, plan: Plan, subject: str, decisions: Sequence[Decision]) -> None:
        name = self.names.of(decisions[0].participant)
        sessions: dict[str, list[Decision]] = defaultdict(list)
        for decision in decisions:
            sessions[decision.session].append(decision)
        rows = []
        for session, held in sorted(sessions.items()):
            held.sort(key=lambda d: (d.day or date.max, d.time, d.file))
            rows.append(
                {
                    "session_id": session,
                    self._day_column: self._moment(plan, held[0]),
                    "age": plan.ages.get((subject, session)) or None,
                }
            )
            scans = [
                {
                    "filename": "/".join(PurePosixPath(self.file(d)).parts[2:]),
                    self._day_column: self._moment(plan, d),
                    "image_id": self.names.of(d.image),
                }
                for d in sorted(held, key=lambda d: d.file)
            ]
            write_tsv(
                self.root / name / session / f"{name}_{session}_scans.tsv",
                ("filename", self._day_column, "image_id"),
                scans,
            )
        columns = ("session_id", self._day_column, "age")
        write_tsv(self.root / name / f"{name}_sessions.tsv", columns, rows)

    def _phenotype(
        self, plan: Plan, label: str, text: str, taken: dict[str, list[Decision]]
    ) -> None:
        day = "days_since_baseline" if self.days else "examination_date"
        rows = [
            {
                "participant_id": self.names.of(taken[visit.subject][0].participant),
                "session_id": visit.session or None,
                day: self._day(plan, visit.subject, visit.day) or None,
                label: visit.value,
            }
            for visit in plan.visits
            if visit.label == label and visit.subject in taken
        ]
        for suffix in ("tsv", "json") if not rows else ():
            (self.root / "phenotype" / f"{label}.{suffix}").unlink(missing_ok=True)
        if rows:
            rows.sort(key=lambda row: str(row["participant_id"]))
            columns: tuple[str, ...] = ("participant_id", day, label)
            if any(row["session_id"] for row in rows):
                columns = ("participant_id", "session_id", day, label)
            write_tsv(self.root / "phenotype" / f"{label}.tsv", columns, rows)
            told = "days from the person's baseline" if self.days else "date of the visit"
            described = {day: {"Description": told}, label: {"Description": text}}
            self._json(f"phenotype/{label}.json", described)

    def _json(self, name: str, tree: dict[str, Any]) -> None:
        write_atomically(self.root / name, (json.dumps(tree, indent=2) + "\n").encode())


def summary(plan: Plan, missing: Mapping[str, int]) -> list[str]:
    """Taken per modality and step, left out per reason, ids of nobody per option: a line each."""
    kinds: dict[str, int] = defaultdict(int)
    for decision in plan.taken:
        kinds["T1" if decision.kind == "mri" else f"AV45 PET {decision.step}"] += 1
    lines = [f"{'taken':<10} {number:>7}  {kind}" for kind, number in sorted(kinds.items())]
    lines += [
        f"{'left out':<10} {number:>7}  {reason}"
        for reason, number in counts(plan.decisions).items()
        if reason != "taken"
    ]
    return lines + [f"{'not found':<10} {n:>7}  ids of {of}" for of, n in missing.items() if n]
