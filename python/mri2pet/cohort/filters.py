"""What a user wants of a tree: `T1w:acq=mprage`, `pet:rec=coregiso6`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mri2pet.cohort.names import plain
from mri2pet.errors import UsageError

SUFFIXES = ("t1w", "pet")
_FORM = re.compile(r"(\w+):([A-Za-z]+)=([A-Za-z0-9+]*(?:,[A-Za-z0-9+]*)*)")


@dataclass(frozen=True)
class Filter:
    """Images of a suffix need one of these labels; the earlier is preferred, '' is without."""

    suffix: str
    entity: str
    labels: tuple[str, ...]

    def rank(self, label: str) -> int | None:
        """Place of a label in the order of preference, None if it is not wanted."""
        return self.labels.index(plain(label)) if plain(label) in self.labels else None


@dataclass(frozen=True)
class Filters:
    """All filters of a command; none of them wants everything."""

    filters: tuple[Filter, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Filters:
        """Reads `SUFFIX:ENTITY=LABEL[,LABEL…]`.

        Raises:
            UsageError: another form, another suffix, or one entity twice.
        """
        found: list[Filter] = []
        for text in texts:
            match = _FORM.fullmatch(text.strip())
            if match is None or match.group(1).lower() not in SUFFIXES:
                raise UsageError(
                    f"--filter {text!r} must be like T1w:acq=mprage or pet:rec=coregiso6"
                )
            suffix, entity = match.group(1).lower(), match.group(2).lower()
            if any((f.suffix, f.entity) == (suffix, entity) for f in found):
                raise UsageError(
                    f"--filter {text!r}: {entity} is filtered twice; give its labels in one, "
                    "parted by commas"
                )
            labels = tuple(plain(label) for label in match.group(3).split(","))
            found.append(Filter(suffix, entity, labels))
        return cls(tuple(found))

    def names(self, suffix: str, entity: str) -> bool:
        """Whether the images of a suffix are filtered by an entity."""
        return any((f.suffix, f.entity) == (suffix, entity) for f in self.filters)

    def of_suffix(self, suffix: str) -> list[Filter]:
        """The filters of the images of a suffix."""
        return [f for f in self.filters if f.suffix == suffix]
