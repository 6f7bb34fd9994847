"""The rules for a download of ADNI or PPMI, on its index and tables alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from mri2pet.cohort.importing.clinical import Clinical, pet_is_bad
from mri2pet.cohort.importing.days import agreed
from mri2pet.cohort.importing.decision import Plan
from mri2pet.cohort.importing.images import Faults, Image, Known, Wishes, dates_of, gather
from mri2pet.cohort.importing.index import Index
from mri2pet.cohort.importing.lists import Listed
from mri2pet.cohort.importing.people import ages_of, people_of, visits_of
from mri2pet.cohort.importing.ranking import set_sessions, take_first_of_each_session
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.study import Study, rid_of
from mri2pet.cohort.importing.words import STEPS, is_early, step_of, tracer_of, why_no_t1
from mri2pet.cohort.passed_over import counted
from mri2pet.cohort.tracers import Tracer
from mri2pet.errors import UsageError
from mri2pet.tables import number


def decide(
    study: Study,
    sources: Sources,
    index: Index,
    lists: Mapping[str, Listed],
    clinical: Clinical,
    wishes: Wishes,
    faults: Faults | None = None,
) -> Plan:
    """A decision on every image that is listed or found, independent of the order of files.

    Args:
        faults: key of an image → (reason, note), of those that proved unusable when opened.

    Raises:
        UsageError: AV45 PETs of several steps, and none was chosen.
    """
    known = Known(study, index, lists, clinical, sources, wishes, faults or {})
    keys = sorted(lists.keys() | index.copies.keys(), key=lambda k: (k.startswith("S"), len(k), k))
    images = [gather(known, key) for key in keys]
    _by_person(known, images)
    _by_kind(known, images)
    _by_step(known, images)
    for image in images:
        if not image.decision.reason:
            _by_table(known, image)
    baselines = set_sessions(known, images)
    take_first_of_each_session(known, images)
    decisions = [image.decision for image in images]
    return Plan(
        decisions,
        visits_of(known, decisions),
        people_of(known, images),
        baselines,
        ages_of(known, images),
        list(clinical.notes),
    )


def _by_person(known: Known, images: Sequence[Image]) -> None:
    wishes = known.wishes
    for image in images:
        decision = image.decision
        names = {decision.subject, decision.participant.removeprefix("sub-")}
        named = {*(image.listed.people if image.listed else ()), *names}
        if named & wishes.withdrawn:
            decision.leave_out("withdrawn")
        elif wishes.subjects is not None and not names & wishes.subjects:
            decision.leave_out("not_chosen", "is left out by --subjects")
        elif image.copy is None:
            decision.leave_out("not_downloaded", "is listed, but no file of it is here")


def _by_kind(known: Known, images: Sequence[Image]) -> None:
    for image in images:
        if image.decision.reason:
            continue
        if image.modality == "PET" and known.study.pets:
            _pet_by_name(image)
        elif image.modality != "MRI":
            image.decision.leave_out("not_t1", f"is listed as {image.modality}")
        elif why := _why_no_t1(image):
            image.decision.leave_out(*why)


def _why_no_t1(image: Image) -> tuple[str, str] | None:
    decision, xml, copy = image.decision, image.xml, image.copy
    of_folder = copy is not None and decision.description == copy.description
    known_t1 = bool(
        xml and xml.weighting.strip().upper() == "T1" and xml.acquisition.strip().upper() == "3D"
    )
    return why_no_t1(decision.description, of_folder=of_folder, known_t1=known_t1)


def _pet_by_name(image: Image) -> None:
    decision, xml, copy = image.decision, image.xml, image.copy
    told = (copy.head.tracer if copy else "", xml.tracer if xml else "")
    found, said = tracer_of(decision.description, *told)
    decision.tracer = "AV45" if found is Tracer.AV45 else said
    if found is not Tracer.AV45:
        decision.leave_out("other_tracer", "" if said else "names no tracer")
    elif is_early(decision.description):
        decision.leave_out("early_phase")
    else:
        decision.step = step_of(decision.description)
        frames = (copy.head.frames if copy else "") or (xml.frames if xml else "")
        decision.frames = frames if (number(frames) or 1) > 1 else ""


def _by_step(known: Known, images: Sequence[Image]) -> None:
    pets = [i.decision for i in images if i.decision.step and not i.decision.reason]
    scans = Counter(pet.step for pet in pets)
    wanted = known.wishes.pet_steps or tuple(scans)
    if not known.wishes.pet_steps and len(scans) > 1:
        people: dict[str, set[str]] = defaultdict(set)
        for pet in pets:
            people[pet.step].add(pet.subject)
        each = ", ".join(
            f"{step} ({counted(len(people[step]), 'person', 'people')}, "
            f"{counted(scans[step], 'scan')})"
            for step in STEPS
            if scans[step]
        )
        raise UsageError(
            f"the AV45 PETs are of several processing steps, which must not be mixed: {each}; "
            "choose one with --pet-step"
        )
    for pet in pets:
        if pet.step not in wanted:
            pet.leave_out("other_step")


def _by_table(known: Known, image: Image) -> None:
    decision, key = image.decision, image.key
    conflict = next((note for note in decision.notes if note.startswith("id_conflict")), "")
    if conflict or key in known.index.conflicts:
        decision.notes = tuple(note for note in decision.notes if note != conflict)
        told = conflict.removeprefix("id_conflict: ") or known.index.conflicts[key]
        decision.leave_out("id_conflict", told)
        return
    if not decision.participant:
        decision.leave_out("id_conflict", "no code of a person of this study is known")
        return
    if why := _wrong_modality(image):
        decision.leave_out("wrong_modality", why)
        return
    date_of = agreed(dates_of(image))
    decision.day, decision.date_from = date_of.day, date_of.source
    decision.note(date_of.note)
    if date_of.source == "folder" and image.copy:
        decision.time = image.copy.time
    rid = rid_of(decision.subject)
    if decision.kind == "pet":
        bad = pet_is_bad(known.clinical, image.related, rid, decision.day)
    else:
        bad = _mri_quality(known.clinical, image)
    if bad:
        decision.leave_out("qc_failed", "failed the study's quality control")
    elif date_of.day is None:
        decision.leave_out(date_of.reason)


def _wrong_modality(image: Image) -> str:
    assert image.copy is not None
    said, wanted = image.copy.head.modality, "PT" if image.decision.kind == "pet" else "MR"
    if said in ("", wanted):
        return ""
    return f"its files are of modality {said}, not {wanted}"


def _mri_quality(clinical: Clinical, image: Image) -> bool:
    """Whether a T1 failed; sets how good it is otherwise."""
    series = number(image.series.lstrip("Ss"))
    if image.copy and image.copy.image.startswith("S"):
        series = float(image.copy.image[1:])
    if series is not None and clinical.series_quality.get(int(series)) is False:
        return True
    rated = next(
        (clinical.mri_quality[key] for key in image.related if key in clinical.mri_quality), None
    )
    if rated is None:
        return False
    selected, quality = rated
    image.decision.qc = f"{'selected ' if selected else ''}{quality or 'unrated'}"
    return quality == 4
