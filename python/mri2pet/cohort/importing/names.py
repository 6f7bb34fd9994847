"""How people, images and sources are called in the output: as the study does, or by pseudonyms."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mri2pet.errors import InputError, UsageError
from mri2pet.files import temporary_beside
from mri2pet.tables import read_table, tsv_text

COLUMNS = ("original", "pseudonym")
_SECRET = "secret"  # the key's row of the secret that hides ids in the output's own record
_FORMS = (("sub-", 4), ("image-", 6))


@dataclass(frozen=True)
class Names:
    """What may be written for the study's own names.

    Attributes:
        key: participant (`sub-…`) or image id → pseudonym; None where the study's own are written.
        secret: of the key, hexadecimal.
        plain: image id → the id without dates, of those that hold one.
        in_file: the key's file holds all of this.
    """

    key: Mapping[str, str] | None = None
    secret: str = ""
    plain: Mapping[str, str] = field(default_factory=dict)
    in_file: bool = True

    @classmethod
    def read(cls, path: Path | None, out: Path) -> Names:
        """Of a key file, which need not be there; None means no pseudonyms.

        Raises:
            InputError: it is no key. UsageError: it would lie in the output.
        """
        if path is None:
            return cls()
        if out.resolve() in path.resolve().parents:
            raise UsageError(
                f"{path}: the key must not lie in the output; name a place outside of it"
            )
        key = _pairs(path) if path.exists() else {}
        secret = key.pop(_SECRET, "")
        known = len(secret) == 64 and set(secret) <= set("0123456789abcdef")
        return cls(key, secret if known else secrets.token_hex(32), in_file=known)

    def with_all(self, participants: Iterable[str], images: Iterable[str]) -> Names:
        """With pseudonyms for all of these; those that have one keep it."""
        if self.key is None:
            return self
        key = dict(self.key)
        for (prefix, width), names in zip(_FORMS, (participants, images), strict=True):
            numbers = (n.removeprefix(prefix) for n in key.values() if n.startswith(prefix))
            used = max((int(n) for n in numbers if n.isdecimal()), default=0)
            for name in names:
                if name and name not in key:
                    used += 1
                    key[name] = f"{prefix}{used:0{width}d}"
        return replace(self, key=key, in_file=self.in_file and len(key) == len(self.key))

    def write(self, path: Path) -> Names:
        """Writes the key, which only its owner may read, if the file lacks anything of it."""
        assert self.key is not None
        if not self.in_file:
            pairs = [*self.key.items(), (_SECRET, self.secret)]
            part = temporary_beside(path)  # nobody else can read it
            try:
                rows = (dict(zip(COLUMNS, pair, strict=True)) for pair in pairs)
                part.write_text(tsv_text(COLUMNS, rows))
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return replace(self, in_file=True)

    def of(self, name: str) -> str:
        """The name that may be written for a participant (`sub-…`) or an image."""
        if self.key is not None and name:
            return self.key[name]
        return self.plain.get(name, name)

    def file(self, file: str, participant: str) -> str:
        """A path of the output, with the person's name in it."""
        return file.replace(participant, self.of(participant)) if participant else file

    def line(self, image: str) -> str:
        """What the record of an import calls an image: with a key, who lacks it learns nothing."""
        return self.plain.get(image, image) if self.key is None else self._hashed(image)

    def images_by_line(self) -> dict[str, str]:
        """What the record calls an image → its id, of the images that are known so far."""
        known = self.plain if self.key is None else self.key
        return {self.line(image): image for image in known}

    def source(self, name: str) -> str:
        """The name that may be written for a source: folders and zips are called by people too."""
        return name if self.key is None else f"source-{self._hashed(name)[:8]}"

    @property
    def hidden(self) -> bool:
        return self.key is not None

    def _hashed(self, name: str) -> str:
        return hmac.new(bytes.fromhex(self.secret), name.encode(), "sha256").hexdigest()


def read_key(path: Path) -> dict[str, str]:
    """Pseudonym → original, of the people of a key file.

    Raises:
        InputError: it is missing or no key.
    """
    return {name: original for original, name in _pairs(path).items() if original[:4] == "sub-"}


def _pairs(path: Path) -> dict[str, str]:
    rows = read_table(path)
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise InputError(f"{path}: is no key; its columns are {' and '.join(COLUMNS)}.")
    return {row["original"]: row["pseudonym"] for row in rows}
