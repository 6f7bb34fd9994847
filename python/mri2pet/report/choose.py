"""Which people a figure shows: by rules, so that anyone gets the same picture."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def at_random(names: Sequence[str], count: int, seed: int) -> list[str]:
    """So many names without repetition; a name's place depends on it and the seed alone."""

    def place(name: str) -> str:
        return hashlib.sha256(f"figure:{seed}:{name}".encode()).hexdigest()

    return sorted(sorted(set(names), key=place)[:count])


def greatest(measure: Mapping[str, float], count: int) -> list[str]:
    """The names of the greatest values, greatest first; of equal ones by name."""
    return sorted(measure, key=lambda name: (-measure[name], name))[:count]


def greatest_growth(
    days: Mapping[str, float], measure: Mapping[str, float], apart: float
) -> tuple[str, str] | None:
    """Of one person's scans the two, at least so many days apart, between which the measure grows
    most: (earlier, later); None where no two are so far apart."""
    pairs = [(a, b) for a in days for b in days if days[b] - days[a] >= apart]
    return max(pairs, key=lambda p: (measure[p[1]] - measure[p[0]], p), default=None)
