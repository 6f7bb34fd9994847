"""What the free-text description of an image means: T1 or not, which processing, which PET."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mri2pet.cohort.tracers import Tracer, tracer

Verdict = tuple[str, str]  # reason, sentence

_T1 = frozenset(["mprage", "fspgr", "spgr", "bravo", "tfe", "t1", "t1w", "mpr", "mt1"])
_T1_PHRASES = ("mp rage", "3d sag", "t1w 3d ffe")
_NEVER = frozenset(
    [
        "flair",
        "t2",
        "pd",
        "dti",
        "dwi",
        "bold",
        "fmri",
        "rest",
        "rsfmri",
        "asl",
        "pcasl",
        "perfusion",
        "swi",
        "swan",
        "tof",
        "mra",
        "gre",
        "nm",
        "mtc",
        "localizer",
        "scout",
        "survey",
        "plane",
        "loc",
        "calibration",
        "cal",
        "field",
        "fieldmap",
        "b0",
        "hippo",
        "hippocampus",
        "cube",
        "phantom",
    ]
)
_NOT_OWN_HEAD = frozenset(
    [
        "masked",
        "talairach",
        "mni",
        "segmented",
        "mask",
        "jacobian",
        "tbm",
        "freesurfer",
        "harp",
        "smoothed",
    ]
)
_CONTRAST = frozenset({"gad", "gd"})
_ACCELERATED = re.compile(r"accel\w*|grappa\d*|sense\d*|asset")
_REPEAT = frozenset({"repeat", "rpt"})

STEPS = ("raw", "dynamic", "averaged", "standard", "8mm", "6mm")
#: Step → label of `rec-`; raw ones are acdyn or acstat by their frames.
REC = {
    "dynamic": "coregdyn",
    "averaged": "coregavg",
    "standard": "coregstd",
    "8mm": "coregiso8",
    "6mm": "coregiso6",
}
FWHM_MM = {"8mm": 8.0, "6mm": 6.0}
_OTHER_TRACERS = frozenset(
    [
        "fbb",
        "florbetaben",
        "pib",
        "fdg",
        "nav",
        "nav4694",
        "flutemetamol",
        "av1451",
        "tau",
        "flortaucipir",
        "mk6240",
        "pi2620",
    ]
)
_AV45 = frozenset(["av45", "florbetapir", "fbp", "amyvid"])


def normalised(description: str) -> str:
    """Lower case, every run of other characters than letters and digits as one space.

    So a list's `MT1; GradWarp; N3m <- MPRAGE` and its folder `MT1__GradWarp__N3m__-_MPRAGE` agree.
    """
    return " ".join(re.sub(r"[^a-z0-9]+", " ", description.lower()).split())


def why_no_t1(description: str, *, of_folder: bool, known_t1: bool) -> Verdict | None:
    """Why an MRI of this description is no T1 of a subject's own head, None if it is one.

    Args:
        of_folder: the description is a folder's, where `C+` has become `C_`.
        known_t1: an XML or a sidecar says T1 and 3D, so the description need not.
    """
    text = normalised(description)
    words = set(text.split())
    if bad := words & _NEVER:
        return "not_t1", f"its description says {min(bad)}"
    if found := words & _NOT_OWN_HEAD:
        return "derived_space", f"its description says {min(found)}"
    if "spatially normalized" in text:
        return "derived_space", "its description says spatially normalized"
    named = bool(words & _T1) or any(f" {phrase} " in f" {text} " for phrase in _T1_PHRASES)
    if not named and not known_t1:
        return "not_t1", "its description names no T1"
    if _with_contrast(description, text, words, of_folder):
        return "contrast", "its description speaks of a contrast agent"
    return None


def _with_contrast(description: str, text: str, words: set[str], of_folder: bool) -> bool:
    signs = re.search(r"(?<![a-z0-9])c\+|\+c(?![a-z0-9])", description.lower())
    lost_sign = of_folder and bool(re.search(r"(?<![A-Za-z0-9])[Cc]_", f"{description}_"))
    return bool(signs or lost_sign or words & _CONTRAST or " post contrast " in f" {text} ")


@dataclass(frozen=True, slots=True)
class T1Class:
    """How a T1 was processed, from 1 (the most) to 9; `repeat` is a second acquisition."""

    number: int
    repeat: bool

    @property
    def original(self) -> bool:
        return self.number >= 7

    def rank(self, first: str) -> int:
        """Its place where `processed` or `original` ones go first."""
        if first == "original":
            return self.number - 7 if self.original else self.number + 2
        return self.number - 1


def t1_class(description: str) -> T1Class:
    """Reads `MPR-R; GradWarp; B1 Correction; N3; Scaled <- MP-RAGE REPEAT`."""
    text = normalised(description)
    words = text.split()
    repeat = bool(set(words) & _REPEAT) or " mpr r " in f" {text} "
    return T1Class(_class(f" {text} ", words), repeat)


def _class(text: str, words: list[str]) -> int:
    if {"n3", "n3m"} & set(words):
        if " n3 scaled 2 " in text:
            return 2
        if " n3 scaled " in text:
            return 1
        if "mt1" in words and "n3m" in words:
            return 3 if "gradwarp" in words else 4
        return 5
    if "gradwarp" in words or " b1 correction " in text:
        return 6
    if "nd" in words:
        return 9
    return 8 if any(_ACCELERATED.fullmatch(word) for word in words) else 7


def says_pet(description: str) -> bool:
    """Whether a description speaks of a tracer or of PET."""
    words = set(normalised(description).split())
    return "pet" in words or _said(description) is not None


def is_early(description: str) -> bool:
    """The perfusion phase, by `Early` anywhere."""
    return "early" in description.lower()


def tracer_of(description: str, *told: str) -> tuple[Tracer | None, str]:
    """What an image's description says of the tracer, else what a head or XML told, and by what.

    (None, '') where neither names one.
    """
    if (said := _said(description)) is not None:
        return said
    for text in told:
        if (said := _said(text)) is not None:
            return said
        if (whole := tracer(text)) is not Tracer.UNKNOWN:
            return whole, " ".join(text.split())
    return None, ""


def _said(text: str) -> tuple[Tracer, str] | None:
    joined = re.sub(r"(?<![a-z0-9])(18f[ _-]?)?(av|mk|pi|nav)[ _-]?(?=\d)", r"\2", text.lower())
    words = [re.sub(r"^(18f|f18|11c)(?=\D)", "", word) for word in normalised(joined).split()]
    others = [word for word in words if word in _OTHER_TRACERS]
    own = [word for word in words if word in _AV45]
    if others:
        return (Tracer.UNKNOWN if own else Tracer.OTHER), others[0]
    return (Tracer.AV45, own[0]) if own else None


def step_of(description: str) -> str:
    """The processing step of an AV45 PET; what names none is `raw`.

    `uniform 6mm` is looked for before `uniform resolution`.
    """
    text = normalised(description)
    if "uniform 6mm" in text or "uniform 6 mm" in text:
        return "6mm"
    if "uniform resolution" in text:
        return "8mm"
    if "standardized image" in text or "std img" in text:
        return "standard"
    if "dynamic" in text:
        return "dynamic"
    if re.search(r"\bco ?reg\w*\b", text) and re.search(r"\bav(era)?g\w*\b", text):
        return "averaged"
    return "raw"
