"""JSON sidecars of a BIDS tree; those of the folders above an image count as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mri2pet.cohort.names import BidsName
from mri2pet.errors import InputError
from mri2pet.tables import decoded


class Sidecars:
    """The sidecars below `root`; each folder and file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, list[tuple[Path, BidsName]]] = {}
        self._contents: dict[Path, dict[str, Any]] = {}

    def of(self, image: Path) -> dict[str, Any]:
        """What the sidecars of an image say, by the inheritance principle of BIDS.

        A `.json` of the image's suffix, in its folder or one above within the tree, is of the
        image if all its entities are the image's too. The nearer folder wins, then the longer name.

        Raises:
            InputError: one of them is no JSON object.
        """
        own = BidsName.of(image.name)
        content: dict[str, Any] = {}
        above = [f for f in image.parents if f == self._root or self._root in f.parents]
        for folder in reversed(above):
            for path, name in self._in(folder):
                if name.suffix == own.suffix and name.entities.items() <= own.entities.items():
                    content |= self._content(path)
        return content

    def _in(self, folder: Path) -> list[tuple[Path, BidsName]]:
        if folder not in self._files:
            paths = sorted(p for p in folder.glob("*.json") if not p.name.startswith("."))
            named = [(path, BidsName.of(path.name)) for path in paths]
            self._files[folder] = sorted(named, key=lambda item: len(item[1].entities))
        return self._files[folder]

    def _content(self, path: Path) -> dict[str, Any]:
        if path not in self._contents:
            try:
                content = json.loads(decoded(path, path.read_bytes()).lstrip("\ufeff"))
                if not isinstance(content, dict):
                    raise ValueError
            except (OSError, ValueError, RecursionError, InputError):
                raise InputError(
                    f"its sidecar {path.name} is no JSON object that can be read; correct it"
                ) from None
            self._contents[path] = content
        return self._contents[path]
