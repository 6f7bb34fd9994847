"""The T1w and pet images of a BIDS tree, by folder and by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mri2pet.cohort.names import NIFTI, BidsName
from mri2pet.cohort.passed_over import PassedOver

FOLDER_OF = {"t1w": "anat", "unit1": "anat", "pet": "pet"}


@dataclass(frozen=True)
class Image:
    """A file whose suffix is that of a T1 or a PET.

    `subject` and `session` are those of its folders, `file` is its path relative to the tree.
    """

    path: Path
    file: str
    subject: str
    session: str
    name: BidsName

    @property
    def kind(self) -> str:
        """`mri` or `pet`."""
        return "pet" if self.name.suffix == "pet" else "mri"

    def left_out(self, reason: str, sentence: str) -> PassedOver:
        """The image with the reason why it is not used."""
        return PassedOver(self.file, reason, sentence)


@dataclass
class Subject:
    """The folder of a person, which may be a link, with its sessions (`''`: without one)."""

    folder: Path
    sessions: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name


def walk(root: Path) -> tuple[list[Subject], list[PassedOver]]:
    """The people of a tree with their images, and what cannot be one of these.

    Folders are looked into as deep as BIDS goes, so a link that leads back does no harm. Names
    that begin with a dot, such as the `._` files of macOS, are no images.
    """
    subjects: list[Subject] = []
    passed: list[PassedOver] = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name.startswith("sub-"):
            if _leads_back(path, root):
                text = "is a link that leads back to the folder it lies in; remove it"
                passed.append(PassedOver(path.name, "unreadable", text))
            else:
                try:
                    subjects.append(_subject(path, root, passed))
                except OSError as error:
                    text = f"cannot be looked into ({error.strerror})"
                    passed.append(PassedOver(path.name, "unreadable", text))
        elif path.name.startswith("sub-") and path.is_symlink() and not path.exists():
            text = "is a link whose target is not there; mount or fetch it"
            passed.append(PassedOver(path.name, "not_downloaded", text))
        elif (name := _image_name(path)) is not None:
            text = "lies in the top folder; put it into sub-…/[ses-…/]anat or pet"
            passed.append(Image(path, path.name, "", "", name).left_out("not_bids", text))
    return subjects, passed


def _subject(folder: Path, root: Path, passed: list[PassedOver]) -> Subject:
    subject = Subject(folder)
    sessions = [p for p in sorted(folder.glob("ses-*")) if p.is_dir()]
    for place in (folder, *sessions):
        session = "" if place == folder else place.name
        held = [
            image
            for inner in (place, *_inner_folders(place))
            for image in _images(inner, root, subject.name, session)
        ]
        if session or held:
            subject.sessions.append(session)
        for image in held:
            if fault := _misplaced(image):
                passed.append(image.left_out(*fault))
            else:
                subject.images.append(image)
    return subject


def _inner_folders(place: Path) -> list[Path]:
    return [
        p
        for p in sorted(place.iterdir())
        if p.is_dir() and not p.name.startswith((".", "ses-")) and not _image_name(p)
    ]


def _images(folder: Path, root: Path, subject: str, session: str) -> Iterator[Image]:
    for path in sorted(folder.iterdir()):
        if (name := _image_name(path)) is not None:
            yield Image(path, path.relative_to(root).as_posix(), subject, session, name)


def _image_name(path: Path) -> BidsName | None:
    """The parts of the name of a T1 or PET, None for every other file."""
    name = BidsName.of(path.name)
    usable = name.suffix in FOLDER_OF and name.extension in NIFTI
    return name if usable and not path.name.startswith(".") else None


def _misplaced(image: Image) -> tuple[str, str] | None:
    """Why the image may be another person's or no part of the tree, as (reason, sentence)."""
    own, stated = image.name.get("sub"), image.name.get("ses")
    if not own:
        return "not_bids", f"has a name without sub-; rename it to {image.subject}_…"
    if f"sub-{own}" != image.subject:
        return "id_conflict", f"lies in {image.subject} but is named sub-{own}; move or rename it"
    if stated and f"ses-{stated}" != image.session:
        where = image.session or "no session's folder"
        return "id_conflict", f"lies in {where} but is named ses-{stated}; move or rename it"
    folder = FOLDER_OF[image.name.suffix]
    if image.path.parent.name != folder:
        return "not_bids", f"lies in no folder {folder} of its session; move it there"
    if image.path.is_dir():
        return "not_bids", "is a folder; put the image in its place"
    return None


def _leads_back(path: Path, root: Path) -> bool:
    real, top = path.resolve(), root.resolve()
    return real == top or real in top.parents
