"""What the tables of the output say of people and their visits."""

from __future__ import annotations

from collections.abc import Sequence

from mri2pet.cohort.importing.clinical import Person, age_at, sex_of
from mri2pet.cohort.importing.decision import Decision, Visit, shown_age
from mri2pet.cohort.importing.images import Image, Known
from mri2pet.cohort.importing.study import rid_of
from mri2pet.tables import number


def visits_of(known: Known, decisions: Sequence[Decision]) -> list[Visit]:
    """The labels of all people of whom an image is taken."""
    found = []
    for subject in sorted({d.subject for d in decisions if d.taken}):
        person = known.clinical.people.get(rid_of(subject) or -1, Person())
        for label in ("diagnosis", "mmse"):
            for visit in sorted(getattr(person, label), key=lambda v: v.day):
                found.append(Visit(subject, label, visit.day, visit.value))
    return found


def people_of(known: Known, images: Sequence[Image]) -> dict[str, dict[str, str]]:
    people: dict[str, dict[str, str]] = {}
    taken = {image.decision.subject for image in images if image.decision.taken}
    for image in images:
        subject = image.decision.subject
        if subject not in taken:
            continue
        facts = people.setdefault(subject, {"sex": "", "group": ""})
        person = known.clinical.people.get(rid_of(subject) or -1)
        listed = image.listed.sex if image.listed else ""
        told = (listed, image.xml.sex if image.xml else "")
        sexes = (person.sex if person else "", *(sex_of(text) for text in told))
        facts["sex"] = facts["sex"] or next(filter(None, sexes), "")
        if not known.study.pets and image.listed:
            facts["group"] = facts["group"] or image.listed.group
    return people


def ages_of(known: Known, images: Sequence[Image]) -> dict[tuple[str, str], str]:
    """Age at the MRI of a session, else at its PET."""
    ages: dict[tuple[str, str], str] = {}
    for image in sorted(images, key=lambda image: image.decision.kind):
        decision = image.decision
        if not decision.taken or decision.day is None:
            continue
        person = known.clinical.people.get(rid_of(decision.subject) or -1)
        years = age_at(person, decision.day) if person else None
        if years is None:
            told = (image.listed.age if image.listed else "", image.xml.age if image.xml else "")
            years = next((n for text in told if (n := number(text)) is not None), None)
        key = (decision.subject, decision.session)
        ages[key] = ages.get(key) or shown_age(years)
    return ages
