"""A step of an experiment, and the marker that says with which inputs it was done.

    OUT/steps/<step>.json     hash of the inputs, state (begun or done), seconds, notes

A step is a function of its inputs' hash, in which the hashes of the steps it needs are. Its marker
is written before it begins and when it is done; only then its results count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError
from mri2pet.files import written_whole

FORMAT = 1
BEGUN, DONE = "begun", "done"
Tell = Callable[[str, dict[str, Any]], None]
"""Called as (kind, facts) while a step works, as the library's own functions call it."""


@dataclass(frozen=True)
class Step:
    """One call of the library.

    Attributes:
        name: as `train:gan`.
        run: does it; returns sentences that the page tells.
        inputs: what changes its result, as JSON takes it.
        needs: steps without which it cannot be.
        after: steps whose results it takes where they are there.
        paths: what it writes, relative to the experiment's folder.
        seconds: estimate.
        derived: drawn up from other steps' results in no time, so made anew without asking.
        why_not: why it cannot be made here, where that is known beforehand.
    """

    name: str
    run: Callable[[Tell], Sequence[str]]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    seconds: float = 0.0
    derived: bool = False
    why_not: str | None = None


@dataclass(frozen=True)
class Marker:
    """What is known of a step that began."""

    hash: str
    state: str
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether its results count."""
        return self.state == DONE


def marker_path(out: Path, name: str) -> Path:
    """Where the marker of a step is."""
    return out / "steps" / f"{name.replace(':', '.')}.json"


def read_marker(out: Path, name: str) -> Marker | None:
    """The marker of a step, None if it never began.

    Raises:
        InputError: it is damaged.
    """
    path = marker_path(out, name)
    try:
        found = json.loads(path.read_text())
        return Marker(found["hash"], found["state"], found["seconds"], tuple(found["notes"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); remove it, and the step is made again."
        ) from None


def write_marker(out: Path, name: str, marker: Marker) -> None:
    """Writes it whole, and to the disk."""
    record = {"hash": marker.hash, "state": marker.state, "seconds": round(marker.seconds, 1),
              "notes": list(marker.notes)}  # fmt: skip
    with written_whole(marker_path(out, name)) as part, part.open("w") as file:
        file.write(json.dumps(record, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def is_done(out: Path, name: str, wanted: str) -> bool:
    """Whether the results of a step are there, made of the inputs of this hash."""
    marker = read_marker(out, name)
    return marker is not None and marker.done and marker.hash == wanted


def done_steps(out: Path, steps: Sequence[Step]) -> set[str]:
    """Names of the steps whose results are there, made with the settings as they are."""
    wanted = hashes(steps, partial(is_done, out))
    return {name for name, hash_ in wanted.items() if is_done(out, name, hash_)}


def hashes(steps: Sequence[Step], done: Callable[[str, str], bool]) -> dict[str, str]:
    """Step → hash of its inputs, with those of all that it needs, and of `after` what is done.

    Args:
        steps: each after those that it needs.
        done: (step, hash) → whether its results are there.
    """
    found: dict[str, str] = {}
    for step in steps:
        content = {
            "format": FORMAT,
            "step": step.name,
            "inputs": step.inputs,
            "needs": {name: found[name] for name in step.needs},
            "after": {n: found[n] for n in step.after if n in found and done(n, found[n])},
        }
        text = json.dumps(content, sort_keys=True, default=str)
        found[step.name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def move_aside(out: Path, step: Step, marker: Marker) -> None:
    """Moves what a step wrote with other inputs to `OUT/replaced/<step>-<hash>/`."""
    target = out / "replaced" / f"{step.name.replace(':', '.')}-{marker.hash[:8]}"
    for name in step.paths:
        source = out / name
        if source.exists():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(source, place)
    marker_path(out, step.name).unlink(missing_ok=True)


def content_of(path: Path | None) -> str | None:
    """What a file or a model's folder is: name, size and for a small file or a description its
    hash."""
    if path is None:
        return None
    for candidate in (path / "model.json", path / "model" / "model.json", path):
        if candidate.is_file():
            size = candidate.stat().st_size
            small = candidate.read_bytes() if size < 10_000_000 else str(size).encode()
            return f"{path.name}:{hashlib.sha256(small).hexdigest()}"
    return str(path)


def tables_of(root: Path) -> str:
    """What the tables of a BIDS folder are that labels come from: a hash of their content."""
    found = hashlib.sha256()
    for pattern in ("*.tsv", "phenotype/*.tsv", "sub-*/**/*.tsv"):
        for path in sorted(root.glob(pattern)):
            found.update(f"{path.relative_to(root)}:".encode() + path.read_bytes())
    return found.hexdigest()
