"""Finding T1-weighted MRIs and AV45 PETs in a BIDS folder and pairing them by date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mri2pet.cohort.choice import choose_pets, choose_t1s
from mri2pet.cohort.dates import (
    DateConflictError,
    Row,
    When,
    scan_rows,
    session_rows,
    unreadable_dates,
    when,
)
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.names import plain
from mri2pet.cohort.passed_over import PassedOver, counts
from mri2pet.cohort.sidecars import Sidecars
from mri2pet.cohort.tree import Image, Subject, walk
from mri2pet.errors import InputError
from mri2pet.tables import read_table

MAX_DAYS = 365.0


@dataclass(frozen=True)
class Scan:
    """One image file. `file` is its path relative to the tree; `when` its date, None if unknown.

    `step` and `resolution_mm` are those of a PET, '' and None where nothing tells.
    """

    subject: str
    session: str
    path: Path
    file: str
    when: When | None = None
    step: str = ""
    resolution_mm: float | None = None


@dataclass(frozen=True)
class Pair:
    """An MRI and the AV45 PET of the same subject that lies nearest in time, or no PET."""

    t1: Scan
    pet: Scan | None
    days_apart: float | None = None

    @property
    def days_signed(self) -> float | None:
        """Days from the MRI to the PET; None where no dates tell which was first."""
        if self.pet is None or self.t1.when is None or self.t1.when.apart(self.pet.when) is None:
            return 0.0 if self.days_apart == 0 else None
        assert self.pet.when is not None
        return self.pet.when.days - self.t1.when.days


@dataclass(frozen=True)
class Found:
    """What a tree holds.

    Attributes:
        pairs: every T1 that is taken, with its PET if it has one.
        passed_over: every T1w and pet image that is not taken, with its reason.
        steps: reconstruction step → how many PETs; of those chosen, paired or not.
        visits: subject → session → its rows in the person's `*_sessions.tsv`; also those without
            a folder.
        notes: what is doubtful in the tables, one sentence each.
    """

    pairs: list[Pair]
    passed_over: list[PassedOver] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    visits: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_pairs(
    data: Path | str,
    *,
    max_days: float = MAX_DAYS,
    filters: Filters | None = None,
    use_contrast: bool = False,
) -> Found:
    """Every session's T1 of a BIDS folder, with its PET when one lies at most `max_days` away.

    What is taken of a session: see `choice`. An image belongs to one pair at most: the nearest
    pairs are made first. Without dates only scans of one session are paired; two sessions of one
    person whose names differ by leading zeros or case alone are one. Where dates are read from:
    see `dates`; `*_scans.tsv` goes before `*_sessions.tsv`.

    Raises:
        InputError: the folder is missing or holds no usable T1-weighted image in BIDS layout; a
            table cannot be read.
        UsageError: AV45 PETs of several reconstruction steps, and no filter that chooses.
    """
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; give the top folder of a BIDS cohort.")
    subjects, passed_over = walk(root)
    wanted = filters or Filters()
    t1s = choose_t1s(subjects, wanted, use_contrast=use_contrast)
    pets = choose_pets(subjects, wanted, Sidecars(root))
    found = Found([], [*passed_over, *t1s.passed_over, *pets.passed_over], pets.steps)
    doubtful: Counter[str] = Counter()
    for subject in subjects:
        table = read_table(subject.folder / f"{subject.name}_sessions.tsv")
        visits = session_rows(table, subject.sessions)
        found.visits[subject.name] = visits
        dates = _Dates(subject, visits, doubtful)
        mris = _scans(t1s.of(subject.name), dates, found)
        scans = [
            replace(s, step=pets.step_of[s.file], resolution_mm=pets.resolution_of.get(s.file))
            for s in _scans(pets.of(subject.name), dates, found)
        ]
        _pair(mris, scans, max_days, found)
    if doubtful:
        first, times = next(iter(doubtful)), sum(doubtful.values())
        many = (
            "dates cannot be read and do not count"
            if times > 1
            else ("date cannot be read and does not count")
        )
        found.notes.append(f"{times} {many}, such as {first!r}; write YYYY-MM-DD")
    if not found.pairs:
        raise InputError(_no_t1(root, found.passed_over))
    found.passed_over.sort(key=lambda image: image.file)
    return found


class _Dates:
    """Dates of one person's scans."""

    def __init__(
        self, subject: Subject, visits: dict[str, list[Row]], doubtful: Counter[str]
    ) -> None:
        self._visits = visits
        self._scans = {s: scan_rows(subject.folder, s) for s in subject.sessions}
        rows = [row for visit in visits.values() for row in visit]
        rows += [row for table in self._scans.values() for scan in table.values() for row in scan]
        doubtful.update(unreadable_dates(rows))

    def of(self, image: Image) -> When | None:
        own = when(self._scans[image.session].get(image.path.name, []), image.kind)
        return when(self._visits.get(image.session, []), image.kind) if own is None else own


def _scans(images: Sequence[Image], dates: _Dates, found: Found) -> list[Scan]:
    scans = []
    for image in images:
        try:
            when_taken = dates.of(image)
            scans.append(Scan(image.subject, image.session, image.path, image.file, when_taken))
        except DateConflictError:
            text = "has two dates in the tables that are more than a day apart; correct them"
            found.passed_over.append(image.left_out("date_conflict", text))
    return scans


def _pair(t1s: list[Scan], pets: list[Scan], max_days: float, found: Found) -> None:
    """Adds the pairs of one person, and the PETs that stay alone."""
    same = _same_sessions(t1s, pets)
    near = sorted(
        (apart, _days(t1), _days(pet), i, j)
        for i, t1 in enumerate(t1s)
        for j, pet in enumerate(pets)
        if (apart := _days_apart(t1, pet, same)) is not None and apart <= max_days
    )
    partner: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for apart, _, _, i, j in near:
        if i not in partner and j not in taken:
            partner[i] = (j, apart)
            taken.add(j)
    for i, t1 in enumerate(t1s):
        if i in partner:
            j, apart = partner[i]
            found.pairs.append(Pair(t1, pets[j], apart))
        else:
            found.pairs.append(Pair(t1, None))
    for j, pet in enumerate(pets):
        if j not in taken:
            found.passed_over.append(_alone(pet, t1s, same, max_days))


def _alone(pet: Scan, t1s: list[Scan], same: set[tuple[str, str]], max_days: float) -> PassedOver:
    if not t1s:
        return PassedOver(pet.file, "not_paired", f"{pet.subject} has no T1 that can be used")
    known = [d for t1 in t1s if (d := _days_apart(t1, pet, same)) is not None]
    if not known:
        text = "no T1 is of the same session, and dates to pair it across sessions are missing"
        return PassedOver(pet.file, "no_date", text)
    if min(known) <= max_days:
        text = f"each T1 within {max_days:g} days has a nearer PET"
    else:
        text = f"the nearest T1 is {min(known):.0f} days away, more than {max_days:g}"
    return PassedOver(pet.file, "not_paired", text)


def _same_sessions(t1s: list[Scan], pets: list[Scan]) -> set[tuple[str, str]]:
    """Sessions of a T1 and a PET that are one: of equal names, or the only ones so alike."""
    mri, pet = {s.session for s in t1s}, {s.session for s in pets}
    same = {(session, session) for session in mri & pet}
    alike = Counter(plain(session) for session in mri | pet)
    same |= {(a, b) for a in mri for b in pet if plain(a) == plain(b) and alike[plain(a)] == 2}
    return {(a, b) for a, b in same if a == b or (a not in pet and b not in mri)}


def _days_apart(t1: Scan, pet: Scan, same: set[tuple[str, str]]) -> float | None:
    apart = t1.when.apart(pet.when) if t1.when is not None else None
    if apart is None and (t1.session, pet.session) in same:
        return 0.0
    return apart


def _days(scan: Scan) -> float:
    return scan.when.days if scan.when is not None else 0.0


def _no_t1(root: Path, passed_over: Sequence[PassedOver]) -> str:
    text = f"{root}: no T1-weighted image was found"
    if not passed_over:
        return f"{text}; expected BIDS names such as sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz."
    each = ", ".join(f"{count} {reason}" for reason, count in counts(passed_over).items())
    first = next(iter(passed_over))
    return f"{text} that can be used (left out: {each}); {first.file}: {first.sentence}."
