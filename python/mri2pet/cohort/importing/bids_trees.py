"""BIDS trees as a source of an import: several become one, by the rules of any cohort."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mri2pet.cohort.bids import Found
from mri2pet.cohort.choice import STEP_UNKNOWN, choose_pets, choose_t1s, contrast
from mri2pet.cohort.dates import DateConflictError, When, cell, scan_rows, session_rows, when
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.importing.convert import ALLOWED
from mri2pet.cohort.importing.decision import Decision, Plan, Visit, shown_age
from mri2pet.cohort.importing.heads import Head
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.index import Copy
from mri2pet.cohort.importing.record import state_of
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.undated import (
    content_of,
    session_labels,
    tells_date,
    told_apart,
    undated,
)
from mri2pet.cohort.importing.words import REC
from mri2pet.cohort.labels import PERSON, Labels
from mri2pet.cohort.names import matched
from mri2pet.cohort.sidecars import Sidecars
from mri2pet.cohort.tree import Image, Subject, walk
from mri2pet.errors import UsageError
from mri2pet.tables import number, read_table

_ORIGIN = date(2000, 1, 1)  # days since baseline are counted from here while they are decided on
_REASON = {"unknown_tracer": "other_tracer", "not_bids": "id_conflict"}
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}


@dataclass(frozen=True)
class _Tree:
    number: int
    root: Path
    subjects: list[Subject]
    participants: dict[str, str]


class Source:
    """The trees and what is chosen of them.

    Args:
        days: no date may be told, not by a label either.

    Attributes:
        read: the tables of people and visits.
        plain: image → its id without dates, of those that hold one; with `days` alone.

    Raises:
        UsageError: a source is no folder, or the trees' names do not tell their people apart.
        InputError: a table cannot be read.
    """

    dataset_type = "derivative"

    def __init__(self, sources: Sources, *, days: bool = False) -> None:
        for path in sources.paths:
            if not path.is_dir():
                raise UsageError(f"{path}: a BIDS tree must be a folder; unpack it")
        self._sources, self._days = sources, days
        self.read: list[Path] = []
        self.plain: dict[str, str] = {}
        self._contents: dict[str, str] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._relative: set[str] = set()
        self._whens: dict[str, When | None] = {}
        self._conflicts: set[str] = set()
        walked = [(path, *walk(path)) for path in sources.paths]
        labels = Counter(subject.name for _, subjects, _ in walked for subject in subjects)
        clash = any(times > 1 for times in labels.values())
        self._trees, self._misplaced = [], []
        for number_of, (root, subjects, passed) in enumerate(walked):
            prefix = re.sub(r"[^A-Za-z0-9]", "", sources.names[number_of]) if clash else ""
            named = {s.name: f"sub-{prefix}{s.name.removeprefix('sub-')}" for s in subjects}
            tree = _Tree(number_of, root, subjects, named)
            self._trees.append(tree)
            self._misplaced += [(tree, image) for image in passed]
            self._date(tree)
            tables = [root / "participants.tsv", *sorted((root / "phenotype").glob("[!.]*.tsv"))]
            self.read += [table for table in tables if table.is_file()]
        people = Counter(name for tree in self._trees for name in tree.participants.values())
        if any(times > 1 for times in people.values()):
            raise UsageError(
                "people of two trees get one name, because the trees' folders are called alike; "
                "rename one of the folders"
            )
        self._name()

    @property
    def relative(self) -> bool:
        """Whether some dates are days since a baseline: then no calendar date can be written."""
        return bool(self._relative)

    def people(self) -> set[str]:
        """Everybody of whom an image is found, in each way that lists may name them."""
        found = {n[4:] for t in self._trees for pair in t.participants.items() for n in pair}
        return found.union(*(_people(tree, image.file) for tree, image in self._misplaced))

    def decide(self, wishes: Wishes, faults: dict[str, tuple[str, str, str]]) -> Plan:
        """The plan; a T1 or PET that proved unusable stays out, and the next is asked.

        Raises:
            UsageError: AV45 PETs of several steps, and none was chosen.
        """
        plan = Plan([], [], {}, {}, {}, [])
        steps: Counter[str] = Counter()
        for tree in self._trees:
            self._decide(tree, wishes, faults, plan, steps)
        chosen = wishes.pet_steps or wishes.filters.names("pet", "rec")
        if len(steps) > 1 and not chosen:
            each = ", ".join(f"{step} ({times} scans)" for step, times in sorted(steps.items()))
            raise UsageError(
                "the AV45 PETs of the trees are of several reconstruction steps, which must not "
                f"be mixed: {each}; choose one with --pet-step, or with --filter 'pet:rec=…'"
            )
        for tree, image in self._misplaced:
            decision = Decision(self._sources.shown(tree.number, "", image.file))
            decision.leave_out(_REASON.get(image.reason, image.reason), image.sentence)
            self._undate(decision, tree, image.file)
            if wishes.withdrawn & _people(tree, image.file):
                decision = Decision(f"withdrawn-{len(plan.decisions) + 1:06d}")
                decision.leave_out("withdrawn")
            plan.decisions.append(decision)
        plan.decisions.sort(key=lambda decision: decision.image)
        return plan

    def _decide(
        self,
        tree: _Tree,
        wishes: Wishes,
        faults: dict[str, tuple[str, str, str]],
        plan: Plan,
        steps: Counter[str],
    ) -> None:
        subjects = [self._without(tree, s, wishes, faults, plan) for s in tree.subjects]
        recs = [
            r for s in wishes.pet_steps for r in ([REC[s]] if s in REC else ["acdyn", "acstat"])
        ]
        by_step = Filters.of([f"pet:rec={','.join(recs)}"] if recs else [])
        filters = Filters((*wishes.filters.filters, *by_step.filters))
        sidecars = Sidecars(tree.root)
        processed = wishes.first_t1 == "processed"
        t1s = choose_t1s(subjects, filters, use_contrast=wishes.use_contrast, processed=processed)
        pets = choose_pets(subjects, filters, sidecars)
        by_file = {image.file: image for subject in subjects for image in subject.images}
        for passed in (*t1s.passed_over, *pets.passed_over):
            decision = self._decision(tree, by_file[passed.file])
            decision.leave_out(_REASON.get(passed.reason, passed.reason), passed.sentence)
            self._undate(decision, tree, passed.file)
            plan.decisions.append(decision)
        found = Found([])
        for subject in subjects:
            table = read_table(subject.folder / f"{subject.name}_sessions.tsv")
            found.visits[subject.name] = session_rows(table, subject.sessions)
            for image in (*t1s.of(subject.name), *pets.of(subject.name)):
                decision = self._decision(tree, image)
                plan.decisions.append(decision)
                if decision.image in self._conflicts:
                    decision.leave_out("date_conflict", "has two dates in the tables")
                    continue
                self._take(decision, tree, image, sidecars, pets.step_of.get(image.file, ""))
                if image.kind == "pet":
                    steps[decision.step] += 1
                first = plan.baselines.get(decision.subject, decision.day)
                if decision.day is not None and first is not None:
                    plan.baselines[decision.subject] = min(first, decision.day)
        self._tables(tree, found, plan)

    def _without(
        self,
        tree: _Tree,
        subject: Subject,
        wishes: Wishes,
        faults: dict[str, tuple[str, str, str]],
        plan: Plan,
    ) -> Subject:
        """The person with the images that may be chosen; the others are decided here."""
        kept = Subject(subject.folder, subject.sessions)
        participant = tree.participants[subject.name]
        names = {subject.name[4:], participant[4:]}
        for image in subject.images:
            decision = self._decision(tree, image)
            state, reason, note = faults.get(decision.image, ("", "", ""))
            if names & wishes.withdrawn:
                decision.leave_out("withdrawn")
                decision.image = f"withdrawn-{len(plan.decisions) + 1:06d}"
            elif wishes.subjects is not None and not names & wishes.subjects:
                decision.leave_out("not_chosen", "is left out by --subjects")
            elif reason and state == state_of(self._with_copy(decision, tree, image)):
                decision.leave_out(reason, note)
            else:
                kept.images.append(image)
                continue
            plan.decisions.append(decision)
        return kept

    def _decision(self, tree: _Tree, image: Image) -> Decision:
        shown = self._sources.shown(tree.number, "", image.file)
        participant = tree.participants[image.subject]
        session = self._session(participant, image.session)
        decision = Decision(shown, participant[4:], participant, session, image.kind, place=shown)
        moment = self._whens.get(shown)
        if moment is not None:
            decision.day = _day(moment)
            decision.date_from = "list"
        return decision

    def _with_copy(self, decision: Decision, tree: _Tree, image: Image) -> Decision:
        folder, _, first = image.file.rpartition("/")
        decision.copy = Copy(
            decision.image, tree.number, "", folder, first, "nifti", 1, _size(image.path),
            decision.subject, "", "", "", Head(),
        )  # fmt: skip
        if decision.image in self.plain:  # an id that may be another image's by the next run
            if decision.image not in self._contents:
                self._contents[decision.image] = content_of(image.path)
            decision.content = self._contents[decision.image]
        return decision

    def _take(
        self, decision: Decision, tree: _Tree, image: Image, sidecars: Sidecars, step: str
    ) -> None:
        decision.reason = "taken"
        self._with_copy(decision, tree, image)
        told = sidecars.of(image.path)
        hidden = {"Sources"} if self._days else set()
        decision.sidecar = {k: value for k, value in told.items() if k in ALLOWED - hidden}
        description = str(told.get("Description", ""))
        decision.description = "" if self._days and tells_date(description) else description
        stem = f"{decision.participant}_{decision.session}"
        where = f"{decision.participant}/{decision.session}"
        if image.kind == "mri":
            agent = image.name.get("ce")
            decision.file = f"{where}/anat/{stem}{agent and f'_ce-{agent}'}_T1w.nii.gz"
            decision.note(contrast(image.name) and "contrast")
            return
        decision.tracer, decision.step = "AV45", step
        rec = "" if step == STEP_UNKNOWN else f"_rec-{step}"
        decision.file = f"{where}/pet/{stem}_trc-18FAV45{rec}_pet.nii.gz"
        if step == STEP_UNKNOWN:
            decision.note("step unknown")

    def _date(self, tree: _Tree) -> None:
        for subject in tree.subjects:
            table = read_table(subject.folder / f"{subject.name}_sessions.tsv")
            visits = session_rows(table, subject.sessions)
            scans = {session: scan_rows(subject.folder, session) for session in subject.sessions}
            for image in subject.images:
                shown = self._sources.shown(tree.number, "", image.file)
                try:
                    own = when(scans[image.session].get(image.path.name, []), image.kind)
                    own = own or when(visits.get(image.session, []), image.kind)
                except DateConflictError:
                    self._conflicts.add(shown)
                    own = None
                self._whens[shown] = own
                if own is not None and own.origin == "baseline":
                    self._relative.add(tree.participants[subject.name][4:])

    def _name(self) -> None:
        """Labels of sessions, and with `days` the names of images, as the output has them."""
        names: list[tuple[str, str]] = []
        for tree in self._trees:
            for subject in tree.subjects:
                participant = tree.participants[subject.name]
                days: dict[str, int | None] = {}
                for session in subject.sessions:
                    shown = [self._shown(tree, i) for i in subject.images if i.session == session]
                    moments = [m for s in shown if (m := self._whens[s]) is not None]
                    days[session] = min((_day(m).toordinal() for m in moments), default=None)
                labels = session_labels(days) if self._days else {}
                if not labels and {"", "ses-01"} <= set(subject.sessions):
                    labels = {session: session or "ses-00" for session in subject.sessions}
                self._labels[participant] = labels
                names += [(self._shown(tree, i), self._plain(tree, i.file)) for i in subject.images]
        for tree, passed in self._misplaced:
            place = self._sources.shown(tree.number, "", passed.file)
            names.append((place, self._plain(tree, passed.file)))
        if self._days:
            self.plain = told_apart(names)

    def _shown(self, tree: _Tree, image: Image) -> str:
        return self._sources.shown(tree.number, "", image.file)

    def _plain(self, tree: _Tree, file: str, text: str = "") -> str:
        """A path, or a text on it, without dates."""
        labels = self._labels.get(tree.participants.get(file.partition("/")[0], ""), {})
        return (
            undated(text, labels)
            if text
            else self._sources.shown(tree.number, "", undated(file, labels))
        )

    def _undate(self, decision: Decision, tree: _Tree, file: str) -> None:
        if self._days:
            decision.notes = tuple(self._plain(tree, file, note) for note in decision.notes)

    def _session(self, participant: str, session: str) -> str:
        return self._labels.get(participant, {}).get(session) or session or "ses-01"

    def _session_of_visit(self, participant: str, session: str) -> str:
        """Of a row in a table; '' where the label is no folder's and may tell a date."""
        labels = self._labels.get(participant, {})
        if not self._days or (not labels and not tells_date(session)):
            return session
        return labels.get(session, "") if session else ""

    def _tables(self, tree: _Tree, found: Found, plan: Plan) -> None:
        taken: dict[str, set[str]] = defaultdict(set)
        for decision in plan.taken:
            taken[decision.subject].add(decision.session)
        for name in ("diagnosis", "mmse"):
            labels = Labels(tree.root, name, found)
            plan.notes += labels.notes
            for subject in found.visits:
                code = tree.participants[subject][4:]
                for session, moment, value in labels.visits(subject):
                    if code in taken:
                        day = _day(moment) if moment else None
                        label = self._session_of_visit(tree.participants[subject], session)
                        if label or day or not session:
                            plan.visits.append(Visit(code, name, day, value, label))
        rows = read_table(tree.root / "participants.tsv")
        names = matched({cell(row, PERSON) for row in rows} - {""}, tree.participants, "sub-")
        for row in rows:
            participant = tree.participants.get(names.get(cell(row, PERSON), ""), "")
            code = participant[4:]
            if code not in taken:
                continue
            sex = _SEX.get(cell(row, "sex", "gender").lower(), "")
            plan.people[code] = {"sex": sex}
            age = shown_age(number(cell(row, "age")))
            plan.ages |= {(code, session): age for session in sorted(taken[code])[:1]}
        for code in taken:
            if code in self._relative:
                plan.baselines[code] = _ORIGIN
            plan.baselines.setdefault(code, _ORIGIN)


def _people(tree: _Tree, file: str) -> set[str]:
    """Whoever the folders and the name of a misplaced image name, as lists may call them."""
    named = set(re.findall(r"sub-([A-Za-z0-9]+)", file))
    return named | {tree.participants.get(f"sub-{name}", "")[4:] for name in named}


def _day(moment: When) -> date:
    if moment.origin == "baseline":
        return date.fromordinal(_ORIGIN.toordinal() + round(moment.days))
    return date.fromordinal(int(moment.days))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
