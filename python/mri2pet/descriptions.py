"""JSON files that describe a model, an export or a run. Each holds a hash of all that it says.

A description names the hash of its weights, so its own hash covers both: one changed bit anywhere
is refused, or changes nothing but white space.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mri2pet.errors import ModelError
from mri2pet.files import write_atomically

HASH = "hash"


def write_description(path: Path, tree: dict[str, Any]) -> None:
    """Writes a tree atomically, with its hash."""
    tree = {key: value for key, value in tree.items() if key != HASH}
    tree[HASH] = hash_of(tree)
    write_atomically(path, json.dumps(tree, indent=2, allow_nan=False).encode() + b"\n")


def read_description(
    path: Path, schema: type[BaseModel] | None = None, *, hashed: bool = True
) -> dict[str, Any]:
    """A tree as it was written, without its hash.

    Args:
        path: of the JSON file.
        schema: what it must hold; it may not hold more.
        hashed: a hash must be there. Files of older versions have none.

    Raises:
        ModelError: it cannot be read, is cut, was changed, or does not hold what it should; one
            sentence that names the file.
    """
    try:
        tree = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path}: is no JSON, or cut; copy it again") from None
    if not isinstance(tree, dict):
        raise ModelError(f"{path}: holds no description; copy it again")
    recorded = tree.pop(HASH, None)
    if (recorded is not None or hashed) and recorded != hash_of(tree):
        raise ModelError(
            f"{path}: was changed after it was written (its hash differs); copy it again"
        )
    if schema is not None:
        try:
            schema.model_validate(tree)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{path}: {place}: {first['msg']}") from None
    return tree


def hash_of(tree: dict[str, Any]) -> str:
    """SHA-256 of a tree, the same for every way to write it down."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    text = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
