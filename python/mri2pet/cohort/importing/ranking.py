"""Sessions, and which T1 and PET of a session goes first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date

from mri2pet.cohort.importing.clinical import phase_at
from mri2pet.cohort.importing.days import agreed
from mri2pet.cohort.importing.decision import Decision
from mri2pet.cohort.importing.images import Image, Known, dates_of, field_strength
from mri2pet.cohort.importing.study import rid_of
from mri2pet.cohort.importing.words import REC, t1_class

DAYS_A_MONTH = 30.4375
_UNRATED = 3.5  # behind the worst rating that is used


def set_sessions(known: Known, images: Sequence[Image]) -> dict[str, date]:
    """Sets the sessions; code of a person → the day they count from."""
    earliest: dict[str, date] = {}
    for image in images:
        subject = image.decision.subject
        if subject and image.decision.reason != "withdrawn":
            day = image.decision.day or agreed(dates_of(image)).day
            if day is not None:
                earliest[subject] = min(day, earliest.get(subject, day))
    baselines = {}
    for subject, first in earliest.items():
        person = known.clinical.people.get(rid_of(subject) or -1)
        baselines[subject] = (person.baseline if person else None) or first
    for image in images:
        decision = image.decision
        if decision.day is None or decision.reason == "withdrawn":
            continue
        months = known.study.visits.get(image.visit.strip().upper())
        if months is None:
            passed = (decision.day - baselines[decision.subject]).days
            months = max(0, round(passed / DAYS_A_MONTH))
        decision.session = f"ses-M{months:03d}"
    return baselines


def take_first_of_each_session(known: Known, images: Sequence[Image]) -> None:
    held: dict[tuple[str, str, str], list[Image]] = defaultdict(list)
    for image in images:
        decision = image.decision
        if not decision.reason:
            held[decision.participant, decision.session, decision.kind].append(image)
    for (*_, kind), candidates in held.items():
        for image in candidates:
            image.rank = _pet_rank(known, image) if kind == "pet" else _t1_rank(known, image)
        _take_first(known, sorted(candidates, key=lambda image: image.rank))


def _pet_rank(known: Known, image: Image) -> tuple[float, ...]:
    decision = image.decision
    steps = known.wishes.pet_steps or (decision.step,)
    assert decision.day is not None
    return (steps.index(decision.step), decision.day.toordinal(), -_number(image))


def _t1_rank(known: Known, image: Image) -> tuple[float, ...]:
    decision, made = image.decision, t1_class(image.decision.description)
    strength = field_strength(known, image)
    decision.field_strength = "" if strength is None else f"{strength:g}"
    quality = next(
        (known.clinical.mri_quality[k] for k in image.related if k in known.clinical.mri_quality),
        (False, None),
    )
    return (
        made.rank(known.wishes.first_t1),
        _away_from_wanted(known, image, strength),
        0 if quality[0] else 1,
        quality[1] or _UNRATED,
        made.repeat,
        _number(image),
    )


def _away_from_wanted(known: Known, image: Image, strength: float | None) -> int:
    """0 for the wanted field strength or an unknown one, 1 for another."""
    if strength is None:
        return 0
    decision = image.decision
    person = known.clinical.people.get(rid_of(decision.subject) or -1)
    phase = phase_at(person, decision.day) if person and decision.day else ""
    phase = phase or (image.listed.phase.upper() if image.listed else "")
    wanted = 1.5 if phase.replace(" ", "") == "ADNI1" else 3.0
    return 0 if abs(strength - wanted) < 0.3 else 1


def _number(image: Image) -> int:
    return int(image.key.removeprefix("S"))


def _take_first(known: Known, candidates: Sequence[Image]) -> None:
    taken: Image | None = None
    for image in candidates:
        decision = image.decision
        if taken is not None:
            decision.leave_out("worse_duplicate", f"{taken.decision.image} goes first")
        elif fault := _fault(known, image):
            decision.leave_out(*fault)
        else:
            taken = image
            decision.reason = "taken"
            decision.file = _file(known, decision)
            if decision.kind == "mri":
                original = t1_class(decision.description).original
                decision.note("original" if original else "processed")


def _fault(known: Known, image: Image) -> tuple[str, str] | None:
    """Why an image cannot be used that would go first, by its heads or by an earlier attempt."""
    if image.key in known.faults:
        return known.faults[image.key]
    assert image.copy is not None
    head = image.copy.head
    return (head.fault, head.note) if head.fault else None


def _file(known: Known, decision: Decision) -> str:
    stem = f"{decision.participant}_{decision.session}"
    folder = f"{decision.participant}/{decision.session}"
    if decision.kind == "mri":
        return f"{folder}/anat/{stem}_T1w.nii.gz"
    rec = REC.get(decision.step) or ("acdyn" if decision.frames else "acstat")
    return f"{folder}/pet/{stem}_trc-18FAV45_rec-{rec}_pet.nii.gz"
