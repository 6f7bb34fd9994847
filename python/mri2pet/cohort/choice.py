"""Which T1 and which AV45 PET of a session a cohort takes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mri2pet.cohort.filters import Filter, Filters
from mri2pet.cohort.headers import why_no_t1, why_unusable
from mri2pet.cohort.names import BidsName
from mri2pet.cohort.passed_over import PassedOver, counted
from mri2pet.cohort.sidecars import Sidecars
from mri2pet.cohort.tracers import Tracer, acquired, tracer
from mri2pet.cohort.tree import Image, Subject
from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target

Fault = tuple[str, str]  # reason, sentence
STEP_UNKNOWN = "unknown"

_DERIVED = ("desc", "space", "res", "label")
_PARTIAL = {"part": "one part of a complex image", "echo": "one echo of several"}
_NO_HEAD = ("localizer", "localiser", "scout", "survey", "plane", "calibration", "phantom", "hippo")


@dataclass
class Chosen:
    """The images that are taken, at most one per person and session, and those that are not."""

    by_subject: dict[str, list[Image]] = field(default_factory=dict)
    passed_over: list[PassedOver] = field(default_factory=list)

    def of(self, subject: str) -> list[Image]:
        """The images of a person, in the order of the sessions."""
        return self.by_subject.get(subject, [])

    def leave_out(self, image: Image, fault: Fault) -> None:
        self.passed_over.append(image.left_out(*fault))


@dataclass
class ChosenPets(Chosen):
    """Also: reconstruction step → how many of the PETs that are taken are of it.

    `step_of`: file → its step; `resolution_of`: file → mm, of those whose sidecar or step tells.
    """

    steps: dict[str, int] = field(default_factory=dict)
    step_of: dict[str, str] = field(default_factory=dict)
    resolution_of: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Candidate:
    """An image that may be taken, and how much the filters prefer it (low first)."""

    image: Image
    rank: tuple[int, ...]


@dataclass(frozen=True)
class _Pet:
    """A PET with what is said of its tracer (None: nothing), and where; and of its step."""

    image: Image
    tracer: Tracer | None
    said: str
    step: str
    resolution_mm: float | None

    @classmethod
    def of(cls, image: Image, sidecar: dict[str, Any]) -> _Pet:
        found, said = _tracer(image, sidecar)
        step = image.name.get("rec") or str(sidecar.get("ReconstructionStep") or "")
        return cls(image, found, said, step.lower(), _resolution(step.lower(), sidecar))

    def label(self, entity: str) -> str:
        return self.step if entity == "rec" else self.image.name.get(entity)


def choose_t1s(
    subjects: Iterable[Subject], filters: Filters, *, use_contrast: bool, processed: bool = False
) -> Chosen:
    """One T1 of every session.

    First those without `rec-`, then by `rec-`; those without `acq-`; the lowest `run-`; by name.
    With `processed`, `rec-norm` goes before all. The first whose header is that of a head's 3D
    image is taken.
    """
    chosen = Chosen()
    candidates = []
    for image in _of_kind(subjects, "mri"):
        rank = _rank(filters.of_suffix("t1w"), image.name.get)
        if fault := _why_not_by_name(image, filters, use_contrast=use_contrast):
            chosen.leave_out(image, fault)
        elif rank is None:
            chosen.leave_out(image, ("not_chosen", "is left out by --filter"))
        else:
            raw = 0 if processed and image.name.get("rec").lower() == "norm" else 1
            candidates.append(_Candidate(image, (*rank, raw)))
    _first_of_each_session(candidates, chosen)
    return chosen


def choose_pets(subjects: Iterable[Subject], filters: Filters, sidecars: Sidecars) -> ChosenPets:
    """One AV45 PET of every session, all of one reconstruction step unless a filter says else.

    The tracer is what `trc-` says, else `TracerName` in the sidecar, else `acq-`. Where none says
    it, the PET is taken only if no PET of the tree names a tracer. The step is `rec-`, else
    `ReconstructionStep` in the sidecar. Of several in a session: as for T1s.

    Raises:
        UsageError: AV45 PETs of several steps, and no filter that names `rec`.
    """
    chosen = ChosenPets()
    pets = []
    for image in _of_kind(subjects, "pet"):
        try:
            pets.append(_Pet.of(image, sidecars.of(image.path)))
        except InputError as error:
            chosen.leave_out(image, ("unreadable", str(error)))
    named = any(pet.tracer is not None for pet in pets)
    steps: dict[str, str] = {}
    candidates = []
    for pet in pets:
        rank = _rank(filters.of_suffix("pet"), pet.label)
        if fault := _why_no_target(pet, filters, named=named):
            chosen.leave_out(pet.image, fault)
        elif rank is None:
            chosen.leave_out(pet.image, _not_chosen(pet, filters))
        else:
            candidates.append(_Candidate(pet.image, rank))
            steps[pet.image.file] = pet.step or STEP_UNKNOWN
    if not filters.names("pet", "rec"):
        _refuse_several_steps(candidates, steps)
    _first_of_each_session(candidates, chosen)
    taken = [steps[image.file] for images in chosen.by_subject.values() for image in images]
    chosen.steps = dict(Counter(sorted(taken)))
    chosen.step_of = steps
    chosen.resolution_of = {p.image.file: p.resolution_mm for p in pets if p.resolution_mm}
    return chosen


def _resolution(step: str, sidecar: dict[str, Any]) -> float | None:
    """mm that a PET was smoothed to, by its sidecar's `ResolutionFWHM` or by its step's name."""
    told = sidecar.get("ResolutionFWHM")
    if isinstance(told, (int, float)) and not isinstance(told, bool) and told > 0:
        return float(told)
    found = re.fullmatch(r"coregiso(\d+)", step)
    return float(found.group(1)) if found else None


def _of_kind(subjects: Iterable[Subject], kind: str) -> list[Image]:
    return [image for subject in subjects for image in subject.images if image.kind == kind]


def _why_not_by_name(image: Image, filters: Filters, *, use_contrast: bool) -> Fault | None:
    name = image.name
    if name.suffix == "unit1":
        return "not_t1", "is an MP2RAGE UNIT1 image, which is no T1w"
    if (agent := contrast(name)) and not (use_contrast or filters.names("t1w", "ce")):
        return "contrast", f"was taken with contrast agent ({agent}); --use-contrast takes it"
    if fault := _why_derived(image, filters):
        return fault
    for entity, what in _PARTIAL.items():
        if name.get(entity) and not filters.names("t1w", entity):
            return "not_t1", f"is {what} ({entity}-{name.get(entity)})"
    acq = name.get("acq").lower()
    if acq == "loc" or any(word in acq for word in _NO_HEAD):
        return "not_t1", f"is no whole head by its name (acq-{name.get('acq')})"
    return None


def contrast(name: BidsName) -> str:
    """The part of a name that speaks of contrast agent, '' without one."""
    if name.get("ce"):
        return f"ce-{name.get('ce')}"
    with_agent = re.search(r"gad|^gd$|post(gd|c)|^contrast|^ce$", name.get("acq").lower())
    return f"acq-{name.get('acq')}" if with_agent else ""


def _why_derived(image: Image, filters: Filters) -> Fault | None:
    for entity in _DERIVED:
        label = image.name.get(entity)
        if label and not filters.names(image.name.suffix, entity):
            return "derived_space", f"was made from another image ({entity}-{label})"
    return None


def _tracer(image: Image, sidecar: dict[str, Any]) -> tuple[Tracer | None, str]:
    """What is said of the tracer, and by what; None where nothing is."""
    trc, acq = image.name.get("trc"), image.name.get("acq")
    if trc:
        return tracer(trc), f"trc-{trc}"
    text = str(sidecar.get("TracerName") or "").strip()
    if text and text.lower() != "n/a":
        return tracer(text), f"TracerName {text}"
    return (acquired(acq) if acq else None), f"acq-{acq}"


def _why_no_target(pet: _Pet, filters: Filters, *, named: bool) -> Fault | None:
    if pet.tracer is Tracer.OTHER:
        return "other_tracer", f"is no AV45 PET ({pet.said})"
    if pet.tracer is Tracer.UNKNOWN:
        return "unknown_tracer", f"is of an unknown tracer ({pet.said})"
    if pet.tracer is None and named:
        text = "names no tracer (trc-, TracerName, acq-), while other PETs of the tree do"
        return "unknown_tracer", text
    if fault := _why_derived(pet.image, filters):
        return fault
    for entity in ("acq", "rec", "task"):
        if "early" in pet.label(entity).lower():
            return "early_phase", f"is of the perfusion phase ({entity}-{pet.label(entity)})"
    return None


def _not_chosen(pet: _Pet, filters: Filters) -> Fault:
    steps = [f for f in filters.of_suffix("pet") if f.entity == "rec"]
    if _rank(steps, pet.label) is None:
        return "other_step", f"is of the step {pet.step or STEP_UNKNOWN}, which --filter leaves out"
    return "not_chosen", "is left out by --filter"


def _refuse_several_steps(candidates: Sequence[_Candidate], steps: dict[str, str]) -> None:
    people: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        people[steps[candidate.image.file]].add(candidate.image.subject)
    if len(people) < 2:
        return
    scans = Counter(steps.values())
    each = ", ".join(
        f"{'without rec-' if step == STEP_UNKNOWN else f'rec-{step}'} "
        f"({counted(len(people[step]), 'person', 'people')}, {counted(scans[step], 'scan')})"
        for step in sorted(people)
    )
    example = next(step for step in sorted(people) if step != STEP_UNKNOWN)
    raise UsageError(
        f"the AV45 PETs are of several reconstruction steps, which must not be mixed: {each}; "
        f"choose one with mri2pet cohort build --filter 'pet:rec={example}'"
    )


def _rank(filters: Sequence[Filter], label: Callable[[str], str]) -> tuple[int, ...] | None:
    """How much the filters prefer an image of these labels, None if they do not want it."""
    ranks = [f.rank(label(f.entity)) for f in filters]
    wanted = tuple(rank for rank in ranks if rank is not None)
    return wanted if len(wanted) == len(ranks) else None


def _first_of_each_session(candidates: Sequence[_Candidate], chosen: Chosen) -> None:
    sessions: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        sessions[candidate.image.subject, candidate.image.session].append(candidate)
    for (subject, _), held in sessions.items():
        taken: Image | None = None
        for image in (c.image for c in sorted(held, key=lambda c: (c.rank, _order(c.image)))):
            if taken is not None:
                chosen.leave_out(image, ("worse_duplicate", f"{taken.path.name} goes first"))
            elif fault := _why_not_by_content(image):
                chosen.leave_out(image, fault)
            else:
                taken = image
                chosen.by_subject.setdefault(subject, []).append(image)


def _order(image: Image) -> tuple[bool, str, bool, int, str]:
    rec, run = image.name.get("rec").lower(), image.name.get("run")
    number = int(run) if run.isascii() and run.isdigit() else len(run) and 10**9
    return bool(rec), rec, bool(image.name.get("acq")), number, image.path.name


def _why_not_by_content(image: Image) -> Fault | None:
    if missing := missing_target(image.path):
        return "not_downloaded", missing.removeprefix(f"{image.path}: ").rstrip(".")
    if why := why_unusable(image.path):
        return "unreadable", why
    if image.kind == "mri" and (why := why_no_t1(image.path)):
        return "not_t1", why
    return None
