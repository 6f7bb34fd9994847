"""Finding T1-weighted MRIs and AV45 PETs in a BIDS folder and pairing them by date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mri2pet.errors import InputError
from mri2pet.tables import number, read_table

MAX_DAYS = 365.0
AV45_TRACERS = frozenset({"18FAV45", "AV45", "18FFBP", "FBP", "FLORBETAPIR"})
NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Scan:
    """One image file. `days`: its date in days, comparable within a subject; None if unknown."""

    subject: str
    session: str
    path: Path
    days: float | None = None


@dataclass(frozen=True)
class Pair:
    """An MRI and the AV45 PET of the same subject that lies nearest in time, or no PET."""

    t1: Scan
    pet: Scan | None
    days_apart: float | None = None


def find_pairs(data: Path | str, *, max_days: float = MAX_DAYS) -> list[Pair]:
    """Every T1 of a BIDS folder, with its PET when one lies at most `max_days` away.

    An image belongs to one pair at most: the nearest pairs are made first. Without dates only
    scans of the same session are paired. A PET without an MRI near enough is left out.

    Dates are read from `acq_time` in `*_scans.tsv` or `*_sessions.tsv` (ISO 8601), or from the
    columns `mri_days` and `pet_days` (days since baseline) in `*_sessions.tsv`.

    Raises:
        InputError: the folder is missing or holds no T1-weighted image in BIDS layout.
    """
    root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; give the top folder of a BIDS cohort.")
    pairs: list[Pair] = []
    for folder in sorted(p for p in root.glob("sub-*") if p.is_dir()):
        pairs += _pair(*find_scans(folder), max_days)
    if not pairs:
        raise InputError(
            f"{root}: no T1-weighted image was found; "
            "expected BIDS names such as sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz."
        )
    return pairs


def find_scans(subject_folder: Path) -> tuple[list[Scan], list[Scan]]:
    """The T1s and the AV45 PETs of one subject: one of each per session, the first by name."""
    subject = subject_folder.name
    sessions = [p for p in sorted(subject_folder.glob("ses-*")) if p.is_dir()] or [subject_folder]
    table = subject_sessions(subject_folder)
    t1s: list[Scan] = []
    pets: list[Scan] = []
    for folder in sessions:
        session = folder.name if folder != subject_folder else ""
        row = table.get(session, {})
        scans = {
            r.get("filename", ""): r
            for r in read_table(folder / f"{'_'.join(filter(None, [subject, session]))}_scans.tsv")
        }
        for images, kind, found in (
            (_images(folder / "anat", "_T1w"), "mri", t1s),
            (_av45(_images(folder / "pet", "_pet")), "pet", pets),
        ):
            if images:
                days = _days(row, scans.get(f"{images[0].parent.name}/{images[0].name}"), kind)
                found.append(Scan(subject, session, images[0], days))
    return t1s, pets


def subject_sessions(subject_folder: Path) -> dict[str, dict[str, str]]:
    """Session → its row in the subject's `*_sessions.tsv`."""
    rows = read_table(subject_folder / f"{subject_folder.name}_sessions.tsv")
    return {row.get("session_id", ""): row for row in rows}


def session_days(row: dict[str, str], kind: str = "mri") -> float | None:
    """A session's date in days: `acq_time`, else the column `mri_days` or `pet_days`."""
    time = row.get("acq_time", "")
    if time:
        try:
            return datetime.fromisoformat(time).replace(tzinfo=None).timestamp() / 86400
        except ValueError:
            pass
    return number(row.get(f"{kind}_days"))


def _images(folder: Path, suffix: str) -> list[Path]:
    return sorted(p for end in NIFTI for p in folder.glob(f"sub-*{suffix}{end}"))


def _av45(paths: list[Path]) -> list[Path]:
    def tracer(path: Path) -> str:
        found = re.search(r"_trc-([A-Za-z0-9]+)", path.name)
        return found.group(1).upper() if found else "AV45"

    return [p for p in paths if tracer(p) in AV45_TRACERS]


def _days(session: dict[str, str], scan: dict[str, str] | None, kind: str) -> float | None:
    own = session_days({"acq_time": (scan or {}).get("acq_time", "")})
    return session_days(session, kind) if own is None else own


def _pair(t1s: list[Scan], pets: list[Scan], max_days: float) -> list[Pair]:
    near = sorted(
        (apart, i, j)
        for i, t1 in enumerate(t1s)
        for j, pet in enumerate(pets)
        if (apart := _days_apart(t1, pet)) is not None and apart <= max_days
    )
    partner: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for apart, i, j in near:
        if i not in partner and j not in taken:
            partner[i] = (j, apart)
            taken.add(j)
    pairs = []
    for i, t1 in enumerate(t1s):
        if i in partner:
            j, apart = partner[i]
            pairs.append(Pair(t1, pets[j], apart))
        else:
            pairs.append(Pair(t1, None))
    return pairs


def _days_apart(t1: Scan, pet: Scan) -> float | None:
    if t1.days is not None and pet.days is not None:
        return abs(t1.days - pet.days)
    return 0.0 if t1.session == pet.session else None
