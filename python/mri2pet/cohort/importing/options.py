"""What a user asks of an import, and whether it makes sense."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.cohort.filters import Filters
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.words import STEPS
from mri2pet.errors import InputError, UsageError

STUDIES = ("adni", "ppmi", "ukb", "bids")
T1_FIRST = ("processed", "original")


@dataclass(frozen=True)
class ImportOptions:
    """The options of `mri2pet cohort import`; see docs/adni.md.

    `t1` is one of `T1_FIRST`; '' leaves it to the study.
    """

    tables: Path | None = None
    collection: tuple[Path, ...] = ()
    pet_steps: tuple[str, ...] = ()
    t1: str = ""
    link: bool = False
    days: bool = False
    withdrawn: Path | None = None
    no_withdrawn: bool = False
    subjects: Path | None = None
    pseudonyms: Path | None = None
    filters: tuple[str, ...] = ()
    use_contrast: bool = False
    jobs: int = 1
    dry_run: bool = False

    @property
    def private(self) -> bool:
        """Whether no folder's name of a source may stand in the output."""
        return self.days or self.pseudonyms is not None


def check(study: str, options: ImportOptions) -> None:
    """Refuses options that make no sense.

    Raises:
        UsageError: one of them does not.
    """
    if study not in STUDIES:
        raise UsageError(f"{study!r} is none of {', '.join(STUDIES)}")
    for step in options.pet_steps:
        if step not in STEPS:
            raise UsageError(f"--pet-step {step!r} is none of {', '.join(STEPS)}")
    if options.t1 not in ("", *T1_FIRST):
        raise UsageError(f"--t1 {options.t1!r} is none of {', '.join(T1_FIRST)}")
    if options.t1 and study == "ukb":
        raise UsageError(
            "--t1 chooses among several T1s of a visit, and UK Biobank has one; leave it out"
        )
    if options.pet_steps and study in ("ppmi", "ukb"):
        raise UsageError(
            f"--pet-step is for PETs, and of {study} T1s alone are taken; leave it out"
        )
    if study != "bids" and (options.filters or options.use_contrast):
        raise UsageError("--filter and --use-contrast are for BIDS trees; see --pet-step and --t1")
    if options.pet_steps and Filters.of(options.filters).names("pet", "rec"):
        raise UsageError("--pet-step and --filter pet:rec=… both name the steps; give one of them")
    if options.t1 and Filters.of(options.filters).names("t1w", "rec"):
        raise UsageError("--t1 and --filter T1w:rec=… both order the T1s; give one of them")
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs} must be at least 1")
    if study == "ukb" and options.withdrawn is None and not options.no_withdrawn:
        raise UsageError(
            "UK Biobank asks that withdrawn people are not used; give their list with "
            "--withdrawn FILE, or --withdrawn none if there is none"
        )


def check_places(root: Path, sources: Sequence[Path]) -> None:
    """Refuses an output that lies in a source, is one, or holds one.

    Raises:
        UsageError: it does.
    """
    out = root.resolve()
    for source in sources:
        place = source.resolve()
        if place == out or place in out.parents:
            where = "is" if place == out else "lies in"
        elif out in place.parents:
            where = "holds"
        else:
            continue
        raise UsageError(
            f"{root}: the output {where} the source {source}, and the one would be read or cleaned "
            "up as the other; name a folder beside the sources"
        )


def kept(study: str, options: ImportOptions) -> dict[str, Any]:
    """The options that an output keeps; no path of them."""
    return {
        "study": study,
        "pet_step": list(options.pet_steps),
        "t1": first_t1(study, options),
        "link": options.link,
        "dates": "days" if options.days else "real",
        "pseudonyms": options.pseudonyms is not None,
        "filter": sorted(options.filters),
        "use_contrast": options.use_contrast,
        "subjects": sha256(options.subjects) if options.subjects else None,
    }


def first_t1(study: str, options: ImportOptions) -> str:
    """The T1s that go first; of BIDS trees '' is the order of `cohort build`."""
    return options.t1 or ("" if study == "bids" else "processed")


def wishes(study: str, options: ImportOptions) -> Wishes:
    """What is wanted of the images.

    Raises:
        UsageError: a list of people cannot be read.
    """
    withdrawn = _ids(options.withdrawn) if options.withdrawn else frozenset()
    subjects = _ids(options.subjects) if options.subjects else None
    filters = Filters.of(options.filters)
    wanted = (options.pet_steps, first_t1(study, options), withdrawn, subjects)
    return Wishes(*wanted, filters, options.use_contrast)


def _ids(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path}: cannot be read; it must hold one id a line") from None
    cells = (line.strip().strip('",').removeprefix("sub-") for line in lines)
    return frozenset(cell for cell in cells if cell)


def sha256(path: Path) -> str:
    """Of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file.") from None
