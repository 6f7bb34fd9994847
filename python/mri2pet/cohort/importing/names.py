"""How people and images are called in the output: by the study's codes, or by pseudonyms."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mri2pet.errors import InputError, UsageError
from mri2pet.files import written_whole
from mri2pet.tables import read_table, tsv_text

COLUMNS = ("original", "pseudonym")


@dataclass(frozen=True)
class Names:
    """`key`: participant or image id → pseudonym; None where the study's own are written."""

    key: Mapping[str, str] | None = None

    def of(self, name: str) -> str:
        """The name that may be written for a participant (`sub-…`) or an image."""
        return self.key[name] if self.key is not None and name else name

    def file(self, file: str, participant: str) -> str:
        """A path of the output, with the person's name in it."""
        return file.replace(participant, self.of(participant)) if participant else file

    @property
    def hidden(self) -> bool:
        return self.key is not None


def pseudonyms(
    path: Path, participants: Iterable[str], images: Iterable[str], out: Path, *, dry: bool
) -> Names:
    """Names by a key file, which is made, or gains those that it lacks; only its owner reads it.

    Raises:
        InputError: it is no key. UsageError: it would lie in the output.
    """
    if out.resolve() in path.resolve().parents:
        raise UsageError(f"{path}: the key must not lie in the output; name a place outside of it")
    rows = read_table(path)
    if path.exists() and (not rows or not set(COLUMNS) <= rows[0].keys()):
        raise InputError(f"{path}: is no key; its columns are {' and '.join(COLUMNS)}.")
    key = {row["original"]: row["pseudonym"] for row in rows}
    for prefix, width, names in (("sub-", 4, participants), ("image-", 6, images)):
        used = sum(name.startswith(prefix) for name in key.values())
        for name in names:
            if name and name not in key:
                used += 1
                key[name] = f"{prefix}{used:0{width}d}"
    if not dry and len(key) > len(rows):
        with written_whole(path) as part:
            part.write_text(
                tsv_text(COLUMNS, ({"original": o, "pseudonym": p} for o, p in key.items()))
            )
        os.chmod(path, 0o600)
    return Names(key)


def read_key(path: Path) -> dict[str, str]:
    """Pseudonym → original, of the people of a key file.

    Raises:
        InputError: it is missing or no key.
    """
    rows = read_table(path)
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise InputError(f"{path}: is no key; its columns are {' and '.join(COLUMNS)}.")
    return {row["pseudonym"]: row["original"] for row in rows if row["original"][:4] == "sub-"}
