"""UK Biobank as a source of an import: the T1 of bulk field 20252, one zip or folder a visit."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from mri2pet.cohort.importing.days import read_day
from mri2pet.cohort.importing.decision import Decision, Plan, shown_age
from mri2pet.cohort.importing.heads import Head
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.index import UNREADABLE, Copy
from mri2pet.cohort.importing.sources import Reader, Sources, opened_zip
from mri2pet.cohort.passed_over import counted
from mri2pet.errors import InputError, UsageError
from mri2pet.tables import number

T1_FIELD = "20252"
MEMBER = "T1/T1.nii.gz"  # cropped, turned upright, defaced; the bias field is still in it
_ITEM = re.compile(r"(?:^|/)(\d+)[_/](\d{5})_(\d+)_(\d+)(\.zip)?(?=/|$)")
_COLUMN = re.compile(r"(?:f\.|p)?(\d+)(?:[-._](?:i)?(\d+))?(?:\.(\d+))?$", re.IGNORECASE)
_SEX = {"0": "F", "1": "M", "female": "F", "male": "M"}
_FIELDS = ("31", "34", "52", "53", "21003")


class Source:
    """What lies in the sources, and three columns of the tables.

    Raises:
        UsageError: `--tables` is missing. InputError: a table cannot be read.
    """

    dataset_type = "raw"

    def __init__(self, sources: Sources, tables: Path | None) -> None:
        if tables is not None and not tables.is_dir():
            raise UsageError(f"{tables}: there is no such folder; check --tables")
        self.read: list[Path] = []
        self._sources = sources
        self._found: dict[tuple[str, str, str, str], list[tuple[int, str, str]]] = {}
        for source, path in enumerate(sources.paths):
            if not path.is_dir():
                self._add(source, path.name, inside=False)
        held = defaultdict(set)
        for folder in sources.walk(into_zips=False):
            for name in folder.names:
                place = f"{folder.path}/{name}" if folder.path else name
                if (shown := self._add(folder.source, place, inside=True)) is not None:
                    held[folder.source, shown].add(place)
        self._held = held
        people = {eid for eid, *_ in self._found}
        self._facts: dict[str, dict[tuple[str, str], str]] = {}
        for table in sorted(tables.rglob("*")) if tables else ():
            if table.suffix.lower() in (".csv", ".tsv", ".txt", ".tab") and table.is_file():
                self._read(table, people)

    def decide(self, wishes: Wishes, faults: dict[str, tuple[str, str, str]]) -> Plan:
        """The plan; people who withdrew are counted in one row and named nowhere."""
        plan = Plan([], [], {}, {}, {}, [])
        people = {eid for eid, *_ in self._found}
        withdrawn = {eid for eid in people if {eid, f"UKB{eid}"} & wishes.withdrawn}
        for item in sorted(self._found):
            if item[0] not in withdrawn:
                self._decide(item, wishes, faults, plan)
        if withdrawn:
            row = Decision(f"withdrawn ({counted(len(withdrawn), 'person', 'people')})")
            row.leave_out("withdrawn")
            plan.decisions.append(row)
            plan.withdrawn = len(withdrawn)
        for decision in plan.taken:
            facts = self._facts.get(decision.subject, {})
            sex = _SEX.get(facts.get(("31", "0"), "").lower(), "")
            plan.people[decision.subject] = {"sex": sex}
            if decision.day is not None:
                first = plan.baselines.get(decision.subject, decision.day)
                plan.baselines[decision.subject] = min(first, decision.day)
            age = self._age(facts, decision)
            plan.ages[decision.subject, decision.session] = shown_age(age)
        return plan

    def people(self) -> set[str]:
        """Everybody of whom an image is found, in each way that lists may name them."""
        found = {eid for eid, *_ in self._found}
        return found | {f"UKB{eid}" for eid in found}

    def _decide(
        self,
        item: tuple[str, str, str, str],
        wishes: Wishes,
        faults: dict[str, tuple[str, str, str]],
        plan: Plan,
    ) -> None:
        eid, field, instance, _ = item
        places = self._found[item]
        source, archive, shown = places[0]
        image = "_".join(item)
        decision = Decision(image, eid, f"sub-UKB{eid}", f"ses-{instance}", description=field)
        decision.place = self._sources.shown(source, "", shown)
        plan.decisions.append(decision)
        day = read_day(self._facts.get(eid, {}).get(("53", instance), ""))
        decision.day, decision.date_from = day, "list" if day else ""
        if wishes.subjects is not None and not {eid, f"UKB{eid}"} & wishes.subjects:
            decision.leave_out("not_chosen", "is left out by --subjects")
        elif field != T1_FIELD:
            decision.leave_out("not_t1", f"is of the bulk field {field}, not {T1_FIELD}")
        elif len(places) > 1 and not self._same(places):
            decision.leave_out("id_conflict", f"lies in {len(places)} places, which differ")
        else:
            self._take(source, archive, shown, faults, decision)
        if day is None:
            decision.note("no date in the tables")

    def _same(self, places: Sequence[tuple[int, str, str]]) -> bool:
        """Whether the T1 of every place has the same bytes."""
        reader, found = Reader(self._sources), set()
        for source, archive, shown in places:
            try:
                path = _t1(self._members(source, archive, shown))
                content = reader.read(source, archive, path) if path else b""
            except (InputError, *UNREADABLE):
                return False
            found.add(hashlib.sha256(content).digest())
        return len(found) == 1

    def _take(
        self,
        source: int,
        archive: str,
        shown: str,
        faults: dict[str, tuple[str, str, str]],
        decision: Decision,
    ) -> None:
        try:
            members = self._members(source, archive, shown)
        except InputError:
            decision.leave_out("unreadable", "ends early or is no zip")
            return
        path = _t1(members)
        unusable = any("/unusable/" in f"/{member}" for member in members)
        if not path:
            why = ("marked_unusable", "") if unusable else ("unreadable", f"holds no {MEMBER}")
            decision.leave_out(*why)
            return
        folder, _, first = path.rpartition("/")
        size = members[path]
        decision.copy = Copy(
            decision.image, source, archive, folder, first, "nifti", 1, size,
            decision.subject, T1_FIELD, "", "", Head(),
        )  # fmt: skip
        state, reason, note = faults.get(decision.image, ("", "", ""))
        if state == f"nifti 1 {size}":
            decision.leave_out(reason, note)
            return
        decision.reason = "taken"
        stem = f"{decision.participant}_{decision.session}"
        decision.file = f"{decision.participant}/{decision.session}/anat/{stem}_T1w.nii.gz"

    def _members(self, source: int, archive: str, shown: str) -> dict[str, int]:
        if shown.lower().endswith(".zip"):
            real = self._sources.real(source, archive)
            directory = opened_zip(real, shown)
            return {
                info.filename: info.file_size
                for folder in directory.folders()
                for info in directory.members(folder).values()
            }
        root = self._sources.paths[source]
        return {path: (root / path).stat().st_size for path in self._held[source, shown]}

    def _add(self, source: int, place: str, *, inside: bool) -> str | None:
        found = _ITEM.search(place)
        if found is None or (found.group(5) and found.end() != len(place)):
            return None
        eid, field, instance, array, zipped = found.groups()
        item = (eid, field, instance, array)
        shown = place[: found.end()]
        entry = (source, shown if zipped and inside else "", shown)
        if entry not in self._found.setdefault(item, []):
            self._found[item].append(entry)
        return shown

    def _read(self, table: Path, people: set[str]) -> None:
        """Sex, birth and visits of the people who are here, row by row: releases are large."""
        try:
            with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                begin = file.readline()
                file.seek(0)
                rows = csv.reader(file, delimiter="\t" if "\t" in begin else ",")
                header = [name.strip() for name in next(rows, [])]
                ids = [i for i, n in enumerate(header) if n.lower() in ("eid", "f.eid")]
                columns = {i: key for i, name in enumerate(header) if (key := _column(name))}
                if not ids or not columns:
                    return
                self.read.append(table)
                for row in rows:
                    if len(row) > ids[0] and (eid := row[ids[0]].strip()) in people:
                        facts = self._facts.setdefault(eid, {})
                        for i, key in columns.items():
                            if i < len(row) and row[i].strip() not in ("", "NA"):
                                facts.setdefault(key, row[i].strip())
        except (OSError, csv.Error):
            raise InputError(f"{table}: cannot be read; check the file.") from None

    def _age(self, facts: dict[tuple[str, str], str], decision: Decision) -> float | None:
        told = number(facts.get(("21003", decision.session.removeprefix("ses-"))))
        year, month = number(facts.get(("34", "0"))), number(facts.get(("52", "0")))
        if told is not None or decision.day is None or year is None or month is None:
            return told
        return (decision.day - date(int(year), int(month), 15)).days / 365.25


def _t1(members: Iterable[str]) -> str:
    return next((m for m in sorted(members) if f"/{m}".endswith(f"/{MEMBER}")), "")


def _column(name: str) -> tuple[str, str] | None:
    """(field, instance) of `31-0.0`, `f.31.0.0`, `p31` or `p53_i2`, of the fields that are used."""
    found = _COLUMN.fullmatch(name)
    if found is None or found.group(1) not in _FIELDS:
        return None
    return found.group(1), found.group(2) or "0"
