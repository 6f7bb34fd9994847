"""Splits: which subject (or scan) trains, which validates, which is kept for the test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mri2pet.errors import UsageError

SPLITS = ("train", "val", "test")
#: The paper's: a tenth for the test, a tenth of the rest for validation.
FRACTIONS = (0.81, 0.09, 0.10)


def split_subjects(
    subjects: Iterable[str], *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, str]:
    """Subject → `train`, `val` or `test`.

    A subject's place depends on the seed and its name only (SHA-256 read as a number in [0, 1)),
    so a cohort may grow, and any command may split it again, without a subject changing sides.
    The names may be those of scans, for the paper's split by scan. In a cohort so small that a
    wanted split would stay empty, the largest split gives the subject that lies nearest.

    Raises:
        UsageError: fractions that are negative or do not add up to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"split fractions {fractions} must be at least 0 and add up to 1")
    place = {subject: _place(subject, seed) for subject in sorted(set(subjects))}
    edges = (fractions[0], fractions[0] + fractions[1])
    split = {s: SPLITS[sum(p >= edge for edge in edges)] for s, p in place.items()}
    for name, fraction, centre in zip(SPLITS, fractions, (0.0, sum(edges) / 2, 1.0), strict=True):
        if fraction > 0 and name not in split.values():
            counts = {other: list(split.values()).count(other) for other in SPLITS}
            largest = max(SPLITS, key=lambda other: counts[other])
            if counts[largest] > 1:
                givers = [s for s, current in split.items() if current == largest]
                split[min(givers, key=lambda s: (abs(place[s] - centre), s))] = name
    return split


def _place(subject: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
