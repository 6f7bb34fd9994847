"""What the archive's XML says of an image: a hardened, streaming reader."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from mri2pet.tables import number

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class XmlFacts:
    """One image of an XML; '' where it says nothing. `related` is what it was made from."""

    image: str
    subject: str = ""
    description: str = ""
    modality: str = ""
    date: str = ""
    sex: str = ""
    age: str = ""
    group: str = ""
    series: str = ""
    field_strength: str = ""
    weighting: str = ""
    acquisition: str = ""
    frames: str = ""
    tracer: str = ""
    related: str = ""


_SIMPLE = {
    "subjectidentifier": "subject",
    "researchgroup": "group",
    "subjectsex": "sex",
    "subjectage": "age",
    "seriesidentifier": "series",
    "modality": "modality",
    "dateacquired": "date",
}
_TERMS = {
    "field strength": "field_strength",
    "weighting": "weighting",
    "acquisition type": "acquisition",
    "frames": "frames",
    "radiopharmaceutical": "tracer",
}


def read_xml(content: bytes) -> list[XmlFacts]:
    """The images an XML speaks of; none for one that is no such XML, too large or hostile.

    A document with a DOCTYPE is refused, so no entity is ever expanded.
    """
    head = content[:4096]
    if len(content) > MAX_BYTES or re.search(rb"<!\s*(DOCTYPE|ENTITY)", content, re.IGNORECASE):
        return []
    if b"<" not in head:
        return []
    try:
        return _images(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return []


def _images(content: bytes) -> list[XmlFacts]:
    path: list[str] = []
    common: dict[str, str] = {}
    original: dict[str, str] = {}
    derived: list[dict[str, str]] = []
    for event, element in ElementTree.iterparse(io.BytesIO(content), events=("start", "end")):
        tag = element.tag.rpartition("}")[2].lower()
        if event == "start":
            path.append(tag)
            if tag == "derivedproduct":
                derived.append({})
            continue
        path.pop()
        text = " ".join((element.text or "").split())
        inside = derived[-1] if "derivedproduct" in path and derived else original
        if "relatedimage" in path:
            if tag == "imageuid" and "derivedproduct" in path and derived:
                derived[-1].setdefault("related", text)
        elif tag == "imageuid":
            inside.setdefault("image", text)
        elif tag in ("description", "processeddatalabel") and text:
            inside.setdefault("description", text)
        elif tag == "protocol":
            term = _TERMS.get(" ".join(element.get("term", "").lower().split()))
            if term:
                inside.setdefault(term, text)
        elif tag in _SIMPLE and text:
            common.setdefault(_SIMPLE[tag], text)
    found = [_facts(common, original)] if original.get("image") else []
    for product in derived:
        if product.get("image"):
            product.setdefault("related", original.get("image", ""))
            found.append(_facts(common, product))
    return found


def _facts(common: dict[str, str], own: dict[str, str]) -> XmlFacts:
    return XmlFacts(**{**common, **own})


def tesla(text: str) -> float | None:
    """Field strength, T, of `3.0`, `3T` or `30000` (gauss); None where it is none."""
    value = number(re.sub(r"\s*(tesla|t)$", "", text.strip().lower()))
    if value is None or value <= 0:
        return None
    return value / 10000 if value > 1000 else value
