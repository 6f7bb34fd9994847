"""BIDS file names, and labels that tables and folders spell in two ways."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class BidsName:
    """The parts of `sub-01_acq-mprage_T1w.nii.gz`.

    Attributes:
        entities: key in lower case → label as it stands, in whatever order the name has them.
        suffix: in lower case, such as `t1w`; '' where the name has none.
        extension: in lower case, from the first dot on.
    """

    entities: Mapping[str, str]
    suffix: str
    extension: str

    @classmethod
    def of(cls, name: str) -> BidsName:
        """The parts of a file's name. What is neither `key-label` nor the last part is no part."""
        stem, dot, extension = name.partition(".")
        *parts, last = stem.split("_")
        suffix = "" if "-" in last else last.lower()
        pairs = [part.partition("-") for part in [*parts, *([] if suffix else [last])]]
        entities = {key.lower(): label for key, dash, label in pairs if dash}
        return cls(entities, suffix, (dot + extension).lower())

    def get(self, entity: str) -> str:
        """The label of an entity, '' without one."""
        return self.entities.get(entity, "")


def plain(label: str) -> str:
    """A label without regard to case and leading zeros: `ses-M000` and `ses-m00` are one."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", label.casefold())


def matched(labels: Collection[str], known: Collection[str], prefix: str) -> dict[str, str]:
    """Label → the name among `known` that it certainly means; others are left out.

    A label means the name that it is, or is without `prefix`. A label that is left means the one
    name that is left and differs by case, leading zeros or prefix alone, if no other label does.
    """
    found = {}
    for label in labels:
        for spelled in (label, prefix + label):
            if spelled in known:
                found[label] = spelled
                break
    left = defaultdict(list)
    for name in set(known) - set(found.values()):
        left[plain(name).removeprefix(prefix)].append(name)
    asking = defaultdict(list)
    for label in set(labels) - set(found):
        asking[plain(label).removeprefix(prefix)].append(label)
    for key, askers in asking.items():
        if len(askers) == 1 and len(left[key]) == 1:
            found[askers[0]] = left[key][0]
    return found
