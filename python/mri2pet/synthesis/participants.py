"""The people of a BIDS dataset, and their synthetic PETs as a BIDS derivative."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mri2pet.cohort.choice import choose_t1s
from mri2pet.cohort.filters import Filter, Filters
from mri2pet.cohort.names import matched, plain
from mri2pet.cohort.passed_over import PassedOver
from mri2pet.cohort.tree import Image, Subject, walk
from mri2pet.errors import InputError, UsageError
from mri2pet.synthesis.derivative import note_failure, write_dataset_files
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import OutputPaths, check_names, check_output_folder
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.run import run_subjects

ENTITIES = {
    "acquisition": "acq",
    "ceagent": "ce",
    "direction": "dir",
    "echo": "echo",
    "reconstruction": "rec",
    "run": "run",
    "session": "ses",
}
"""Long name of an entity in a filter file → its key in a file's name."""

FIXED = {"datatype": "anat", "suffix": "T1w"}  # what a filter file may repeat of a T1


def synthesize_participants(
    data: Path,
    out: Path,
    options: SynthesisOptions,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    filters: Filters | None = None,
    check: Callable[[Path], None] | None = None,
    observer: Observer | None = None,
) -> list[SynthesisResult]:
    """A synthetic PET of one T1 of each session, in OUT/sub-…/[ses-…/]pet.

    Several processes may work on one `out` at once if each has other people. The reason of a
    failure lies in OUT/logs until that session goes well.

    Args:
        data: folder of the dataset; it is only read.
        participants, sessions: labels with or without `sub-`, `ses-`; empty for all.
        filters: which T1s count, see `read_filters`.
        check: looks at the dataset once labels and places are right, and may refuse it.

    Raises:
        UsageError: an unknown label, or an output folder inside `data` but not in its derivatives.
        InputError: no folder, or no T1 that can be used.
        Mri2petError: the output folder cannot be written to; or the only session failed.
    """
    subjects, passed_over = find_people(data, participants)
    found = inputs_of(data, subjects, sessions, filters or Filters(), passed_over)
    _check_place(data, out)
    if check is not None:
        check(data)
    check_output_folder(out)
    check_names(out, [subject.stem for subject in found], OutputPaths.in_dataset)
    write_dataset_files(out, data)
    observer = observer or Observer()
    try:
        results = run_subjects(found, options, out, observer, OutputPaths.in_dataset)
    except Exception as error:
        if len(found) == 1 and not isinstance(error, UsageError):
            note_failure(out, found[0].stem, str(error) or type(error).__name__)
        raise
    for subject, result in zip(found, results, strict=True):
        failed = result.error is not None
        note_failure(out, subject.stem, result.reason if failed else None)
    return results


def find_people(
    data: Path, participants: Sequence[str] = ()
) -> tuple[list[Subject], list[PassedOver]]:
    """The people of a dataset, all or those named, and images that belong to nobody.

    Raises:
        InputError: there is no such folder, or nobody in it.
        UsageError: a label that nobody has; the message names all of them.
    """
    if not data.is_dir():
        raise InputError(f"{data}: there is no such folder; give the top folder of a BIDS dataset")
    subjects, passed_over = walk(data)
    if not subjects:
        raise InputError(f"{data}: holds no folder sub-…; give the top folder of a BIDS dataset")
    wanted = _matched(participants, [s.name for s in subjects], "sub-", "participant", data)
    return [s for s in subjects if not participants or s.name in wanted], passed_over


def inputs_of(
    data: Path,
    subjects: Iterable[Subject],
    sessions: Sequence[str],
    filters: Filters,
    passed_over: Sequence[PassedOver] = (),
) -> list[SubjectInput]:
    """One T1 of each session, with the stem `sub-…[_ses-…]` of its results.

    Raises:
        UsageError: a session that none of the people has.
        InputError: no T1 that can be used; with the first reason why not.
    """
    subjects = list(subjects)
    known = sorted({session for s in subjects for session in s.sessions if session})
    wanted = _matched(sessions, known, "ses-", "session", data)
    chosen = choose_t1s(subjects, filters, use_contrast=False)
    images = [
        image
        for subject in subjects
        for image in chosen.of(subject.name)
        if not sessions or image.session in wanted
    ]
    if not images:
        left_out = [*chosen.passed_over, *passed_over]
        why = f"; {left_out[0].file} {left_out[0].sentence}" if left_out else ""
        raise InputError(f"{data}: no T1-weighted image that can be used{why}")
    return [SubjectInput(image.path, _stem(image), data) for image in images]


def _stem(image: Image) -> str:
    return "_".join(part for part in (image.subject, image.session) if part)


def _matched(
    labels: Sequence[str], known: Sequence[str], prefix: str, what: str, data: Path
) -> set[str]:
    """The names that the labels mean.

    Raises:
        UsageError: labels that mean none.
    """
    found = matched(labels, known, prefix)
    unknown = sorted(set(labels) - set(found))
    if unknown:
        raise UsageError(f"{data}: there is no {what} {', '.join(unknown)}")
    return set(found.values())


def _check_place(data: Path, out: Path) -> None:
    inside, derivatives = data.resolve(), (data / "derivatives").resolve()
    place = out.resolve()
    if place == inside or (inside in place.parents and derivatives not in place.parents):
        raise UsageError(
            f"{out}: lies inside the dataset, which results may only do in a folder of its "
            f"derivatives; give {data / 'derivatives' / 'mri2pet'}"
        )


def read_filters(path: Path) -> Filters:
    """The filters of a file as other BIDS apps take it: `{"t1w": {"acquisition": "mprage"}}`.

    A value is a label, a number, a list of them (the first is preferred), or null for an image
    without that entity. Queries of other images are passed over.

    Raises:
        InputError: the file cannot be read or is no such JSON.
        UsageError: an unknown entity, or a query that no T1 answers.
    """
    try:
        content = json.loads(path.read_text())
        query = content.get("t1w", {})
        items = dict(query)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: is no filter file ({error}); it holds JSON such as "
            '{"t1w": {"acquisition": "mprage"}}'
        ) from None
    return Filters(tuple(_filters(path, items)))


def _filters(path: Path, query: Mapping[str, Any]) -> Iterable[Filter]:
    for name, value in query.items():
        if name in FIXED:
            if value != FIXED[name]:
                raise UsageError(f"{path}: {name} of a T1 is {FIXED[name]}, not {value!r}")
            continue
        if name not in ENTITIES:
            known = ", ".join(sorted(ENTITIES))
            raise UsageError(f"{path}: {name!r} is no entity of a T1; there are {known}")
        labels = value if isinstance(value, list) else [value]
        if not all(label is None or isinstance(label, (str, int)) for label in labels):
            raise UsageError(f"{path}: {name} must be a label, a list of them or null")
        texts = ["" if label is None else plain(str(label)) for label in labels]
        yield Filter("t1w", ENTITIES[name], tuple(texts))
