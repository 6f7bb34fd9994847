"""What can be quantified: measured PETs, prepared ones, and the results of `mri2pet synthesize`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mri2pet.cohort.names import BidsName
from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target

SYNTHETIC = "_desc-synthetic"
RESULT = f"*{SYNTHETIC}_pet.json"
PREPARED = "preprocess.json"
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".img", ".hdr")


@dataclass(frozen=True)
class Source:
    """One person's PET before it is read.

    Attributes:
        kind: `file`, an image in template space or with its T1; `prepared`, a folder of `mri2pet
            preprocess`; `result`, the sidecar of a synthetic PET.
        path: the image, the folder or the sidecar.
        t1: of a `file` in the scanner's space.
    """

    kind: Literal["file", "prepared", "result"]
    path: Path
    subject: str
    session: str | None
    t1: Path | None = None

    @property
    def measured(self) -> bool:
        """Whether it was measured and not predicted from an MRI."""
        return self.kind != "result"


def find_sources(inputs: Sequence[Path], t1s: Sequence[Path] = ()) -> list[Source]:
    """The PETs behind files and folders, in the order given.

    Args:
        inputs: PET images, folders of `preprocess`, or folders of `synthesize` (of one subject
            or of several).
        t1s: of the images, one each in their order; none where they lie in template space.

    Raises:
        UsageError: nothing is given, other numbers of T1s and images, or two PETs of one kind,
            subject and session.
        InputError: a folder without any of these, or a synthetic PET among the images.
    """
    if not inputs:
        raise UsageError("no PET is given")
    images = [path for path in inputs if not path.is_dir()]
    if t1s and len(t1s) != len(images):
        raise UsageError(
            f"--t1 was given {len(t1s)} times for {len(images)} PET images: give each image its "
            "T1, in the same order, or none where the PETs lie in template space"
        )
    rest = iter(t1s)
    found: list[Source] = []
    for path in inputs:
        found.extend(_in_folder(path) if path.is_dir() else [_image(path, next(rest, None))])
    _refuse_doubles(found)
    return found


def _image(path: Path, t1: Path | None) -> Source:
    for file in (path, t1):
        if file is not None and not file.exists():
            advice = f"{file}: there is no such file; give a PET image or a folder of results."
            raise InputError(missing_target(file) or advice)
    if SYNTHETIC in path.name:
        raise InputError(
            f"{path}: is a synthetic PET, which is no measurement; give its folder "
            "instead, so that the table says so."
        )
    return Source("file", path, *person_of(path), t1)


def _in_folder(folder: Path) -> list[Source]:
    if (folder / PREPARED).is_file():
        return [Source("prepared", folder, *person_of(folder))]
    sidecars = sorted([*folder.glob(RESULT), *folder.glob(f"*/{RESULT}")])
    if not sidecars:
        raise InputError(
            f"{folder}: holds no result of mri2pet synthesize and no {PREPARED} of mri2pet "
            "preprocess; give such a folder, or PET images."
        )
    return [Source("result", path, *person_of(path)) for path in sidecars]


def person_of(path: Path) -> tuple[str, str | None]:
    """Subject and session by the BIDS entities of the name or of the folders above it."""
    for name in (path.name, *reversed(path.absolute().parts[-4:-1])):
        entities = BidsName.of(name)
        if entities.get("sub"):
            session = entities.get("ses") or _session_above(path)
            return f"sub-{entities.get('sub')}", f"ses-{session}" if session else None
    stem = path.name.partition(SYNTHETIC)[0].removesuffix("_trc-18FAV45_space-T1w")
    for suffix in IMAGE_SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem, None


def _session_above(path: Path) -> str:
    sessions = (BidsName.of(name).get("ses") for name in reversed(path.absolute().parts[-4:-1]))
    return next((label for label in sessions if label), "")


def _refuse_doubles(sources: Sequence[Source]) -> None:
    taken: dict[tuple[str, str | None, bool], Source] = {}
    for source in sources:
        key = (source.subject, source.session, source.measured)
        other = taken.setdefault(key, source)
        if other is not source:
            raise UsageError(
                f"{other.path} and {source.path} would both be {source.subject}"
                f"{'' if source.session is None else f', {source.session}'} in the table; "
                "quantify them apart"
            )


def read_json(path: Path) -> dict[str, object]:
    """A description that another command wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: cannot be read as JSON; make the result again.")
    return tree
