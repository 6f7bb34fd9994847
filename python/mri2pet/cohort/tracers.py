"""Which tracer a PET is of: by its name, or by its sidecar."""

from __future__ import annotations

import re
from enum import Enum

# Spellings without the isotope, signs and case.
AV45 = frozenset({"av45", "fbp", "florbetapir", "amyvid"})
OTHERS = frozenset({
    "fdg", "fluorodeoxyglucose", "deoxyglucose",
    "pib", "pittsburgh", "pittsburghcompoundb",
    "fbb", "florbetaben", "neuraceq",
    "fmm", "flut", "flutemetamol", "vizamyl",
    "nav", "nav4694", "azd4694", "flutafuranol",
    "tau", "av1451", "ftp", "flortaucipir", "t807", "tauvid", "mk6240", "florquinitau", "pi2620",
    "ro948", "ro6958948", "gtp1", "thk", "thk523", "thk5117", "thk5317", "thk5351", "pbb3",
    "pmpbb3", "apn1607", "florzolotau",
    "dopa", "fdopa", "raclopride", "fallypride", "dasb", "way100635", "altanserin", "cimbi36",
    "sb207145", "ucbj", "synvest1", "flumazenil", "fmz",
    "tspo", "pk11195", "pbr28", "pbr111", "dpa714", "er176",
    "water", "h2o", "oxygen", "fet", "met", "choline",
})  # fmt: skip
# Long enough to be meant wherever they stand in free text.
_IN_TEXT = ("fdg", "pib", "tau", "av1451", "mk6240", "pi2620", "nav4694", "av45")


class Tracer(Enum):
    """What a text says of the tracer."""

    AV45 = "AV45"
    OTHER = "other"
    UNKNOWN = "unknown"


def tracer(text: str) -> Tracer:
    """What `18FAV45`, `Florbetapir (F-18)` or `[18F]-AV-1451` mean.

    Two tracers in one text, or none that is known, are `UNKNOWN`.
    """
    word = re.sub(r"[^a-z0-9]", "", text.casefold())
    spellings = _without_isotope(word)
    if spellings & AV45:
        return Tracer.AV45
    if spellings & OTHERS:
        return Tracer.OTHER
    return _in_text(word)


def acquired(label: str) -> Tracer | None:
    """What an `acq-` label says of the tracer, None where it speaks of something else."""
    said = tracer(label)
    if said is Tracer.UNKNOWN:
        several = sum(name in label.casefold() for name in _IN_TEXT) > 1
        labelled = re.match(r"(18F|F18|11C|C11)\w", label, re.IGNORECASE)
        return Tracer.UNKNOWN if several or labelled else None
    return said


def _without_isotope(word: str) -> set[str]:
    """The word as it is and without 18F, F18, 11C, C11 … at either end: `18FBB` may be FBB."""
    isotope = r"(?:18f|f18|11c|c11|15o|o15|18|11)"
    return {
        re.sub(f"^{begin}|{end}$", "", word) for begin in (isotope, "(?!)", "1[18]")
        for end in (isotope, "(?!)")
    }  # fmt: skip


def _in_text(word: str) -> Tracer:
    names = {name for name in AV45 | OTHERS if len(name) >= 6 and name in word}
    names |= {name for name in _IN_TEXT if name in word}
    said = {name in AV45 for name in names}
    if len(said) != 1:
        return Tracer.UNKNOWN
    return Tracer.AV45 if said.pop() else Tracer.OTHER
