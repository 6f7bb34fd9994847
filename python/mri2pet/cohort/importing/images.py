"""An image of a download with all that lists, XML, folder and heads say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from mri2pet.cohort.filters import Filters
from mri2pet.cohort.importing.clinical import Clinical
from mri2pet.cohort.importing.days import read_day
from mri2pet.cohort.importing.decision import Decision
from mri2pet.cohort.importing.index import Copy, Index
from mri2pet.cohort.importing.lists import Listed
from mri2pet.cohort.importing.loni import ImageId
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.study import Study
from mri2pet.cohort.importing.words import says_pet
from mri2pet.cohort.importing.xml_facts import XmlFacts, tesla

Faults = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Wishes:
    """What the user chose. `pet_steps` is an order of preference; () asks for the only one.

    `filters` and `use_contrast` are for BIDS trees alone.
    """

    pet_steps: tuple[str, ...] = ()
    first_t1: str = "processed"
    withdrawn: frozenset[str] = frozenset()
    subjects: frozenset[str] | None = None
    filters: Filters = field(default_factory=Filters)
    use_contrast: bool = False


@dataclass
class Image:
    """An image with all that is said of it."""

    key: str
    listed: Listed | None
    xml: XmlFacts | None
    copy: Copy | None
    decision: Decision
    visit: str = ""
    series: str = ""
    related: tuple[str, ...] = ()
    modality: str = ""
    rank: tuple[float, ...] = ()
    phase: str = ""


@dataclass
class Known:
    study: Study
    index: Index
    lists: Mapping[str, Listed]
    clinical: Clinical
    sources: Sources
    wishes: Wishes
    faults: Faults = field(default_factory=dict)


def gather(known: Known, key: str) -> Image:
    listed, xml = known.lists.get(key), known.index.xml.get(key)
    copies = known.index.copies.get(key, [])
    copy = copies[0] if copies else None
    show = copy.image if copy else ""
    if listed and (copy is None or copy.image.startswith("I")):
        show = listed.image
    said = [
        *(listed.people if listed else ()),
        *((xml.subject,) if xml and copy else ()),
        *(other.subject for other in copies),
        *(other.head.person for other in copies),
    ]
    people = [person for person in dict.fromkeys(said) if known.study.subject.fullmatch(person)]
    subject = people[0] if people else ""
    decision = Decision(show, subject, known.study.participant(subject))
    image = Image(key, listed, xml, copy, decision)
    described = (listed.description if listed else "", xml.description if xml else "")
    decision.description = next(filter(None, (*described, copy.description if copy else "")), "")
    decision.place = (
        known.sources.shown(copy.source, copy.archive, f"{copy.folder}/{copy.first}")
        if copy
        else ""
    )
    decision.copy = copy
    if listed is None:
        decision.note("not_listed")
    image.visit = listed.visit if listed else ""
    decision.note(image.visit and f"visit {image.visit}")
    image.series = (listed.series if listed else "") or (xml.series if xml else "")
    origin = ImageId.of(xml.related) if xml and xml.related else None
    image.related = (key, origin.key) if origin and origin.key != key else (key,)
    image.modality = _modality(image)
    decision.kind = "pet" if image.modality == "PET" else "mri"
    if len(people) > 1:
        decision.note("id_conflict: list, folder, XML and header name several people")
    return image


def _modality(image: Image) -> str:
    """As the lists say it: MRI, PET, DTI …; else by the description, XML and head."""
    if image.listed and image.listed.modality:
        said = image.listed.modality.upper()
    elif says_pet(image.decision.description):
        return "PET"
    elif image.xml and image.xml.modality:
        said = image.xml.modality.upper()
    else:
        said = image.copy.head.modality if image.copy else ""
    return {"PT": "PET", "MR": "MRI", "": "MRI"}.get(said, said)


def dates_of(image: Image) -> dict[str, list[date]]:
    copy, xml, listed = image.copy, image.xml, image.listed
    found: dict[str, list[date | None]] = {
        "header": [read_day(copy.head.date)] if copy else [],
        "xml": [read_day(xml.date)] if xml else [],
        "folder": [read_day(copy.date)] if copy else [],
        "list": list(listed.dates) if listed else [],
    }
    return {source: [d for d in days if d is not None] for source, days in found.items()}


def field_strength(known: Known, image: Image) -> float | None:
    """T: of the list, XML or head, else of the original that it was made from."""
    for key in image.related:
        listed, xml = known.lists.get(key), known.index.xml.get(key)
        head = next((c.head.field_strength for c in known.index.copies.get(key, ())), "")
        told = (listed.field_strength if listed else "", xml.field_strength if xml else "", head)
        strength = next((s for text in told if (s := tesla(text)) is not None), None)
        if strength is not None:
            return strength
    return None
