"""A whole simulated study on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mri2pet import __version__
from mri2pet.cohort.phantom import files
from mri2pet.cohort.phantom.people import Person, draw_person
from mri2pet.errors import UsageError


def draw_people(*, pairs: int, unpaired: int, seed: int) -> list[Person]:
    """Everybody in the cohort: `pairs` people with MRI and PET, then `unpaired` with MRI only."""
    return [
        draw_person(seed, number, paired=number <= pairs)
        for number in range(1, pairs + unpaired + 1)
    ]


def make_cohort(
    out: str | Path,
    *,
    pairs: int,
    unpaired: int = 0,
    seed: int = 0,
    jobs: int = 1,
    on_subject: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Write a simulated study as BIDS with the truth in `derivatives/truth`.

    Done visits are skipped, so the same call goes on where it stopped. A person's images depend
    on the seed and the person's number alone, not on `jobs` nor on what was done before.

    Args:
        out: folder of the study.
        pairs: people with at least one MRI–PET pair.
        unpaired: people with MRI only.
        seed: 0 or more.
        jobs: processes.
        on_subject: called with (label, done, all) when a person's scans are written.

    Returns:
        The folder.

    Raises:
        UsageError: senseless numbers, or the folder holds a cohort of other settings.
    """
    _check(pairs, unpaired, seed, jobs)
    from mri2pet.cohort.parallel import single_threaded_map

    root = Path(out)
    _claim(root, {"pairs": pairs, "unpaired": unpaired, "seed": seed, "version": __version__})
    people = draw_people(pairs=pairs, unpaired=unpaired, seed=seed)
    _write_tables(root, people)
    open_people = [person for person in people if not _is_done(root, person)]
    done = len(people) - len(open_people)
    work = partial(_write_person, root, seed)
    for person, _ in single_threaded_map(work, open_people, jobs):
        done += 1
        if on_subject is not None:
            on_subject(person.label, done, len(people))
    return root


def _check(pairs: int, unpaired: int, seed: int, jobs: int) -> None:
    if pairs < 0 or unpaired < 0 or pairs + unpaired < 1:
        raise UsageError(
            f"--pairs {pairs} --unpaired {unpaired}: both must be 0 or more and one above 0."
        )
    if pairs + unpaired > 9999:
        raise UsageError(f"{pairs + unpaired} people are more than the 9999 that can be numbered.")
    if seed < 0:
        raise UsageError(f"--seed {seed}: must be 0 or more.")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be 1 or more.")


def _claim(root: Path, settings: dict[str, int | str]) -> None:
    """Remember the settings in the folder; refuse a folder with others."""
    path = root / "derivatives" / "truth" / "phantom.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found != settings:
            raise UsageError(
                f"{root}: holds a phantom cohort of other settings ({found}); "
                "use them again or another folder."
            )
        return
    files.write_json(path, settings)


def _is_done(root: Path, person: Person) -> bool:
    from mri2pet.cohort.phantom.session import truth_path

    return all(truth_path(root, person, visit).exists() for visit in person.visits)


def _write_person(root: Path, seed: int, person: Person) -> None:
    from threadpoolctl import threadpool_limits

    from mri2pet.cohort.phantom.session import truth_path, write_visit

    # One BLAS thread: the order of its sums, and so the last bit, depends on their number.
    with threadpool_limits(1):
        for visit in person.visits:
            if not truth_path(root, person, visit).exists():
                write_visit(root, seed, person, visit)


def _write_tables(root: Path, people: list[Person]) -> None:
    """The description of the study and the tables of people, sessions, diagnosis and MMSE."""
    description = {
        "Name": "mri2pet phantom cohort (simulated)",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "Simulated": True,
        "GeneratedBy": [{"Name": "mri2pet phantom", "Version": __version__}],
        "Acknowledgements": files.SIMULATED,
    }
    files.write_json(root / "dataset_description.json", description)
    derived = description | {"Name": "truth of the phantom cohort", "DatasetType": "derivative"}
    files.write_json(root / "derivatives" / "truth" / "dataset_description.json", derived)
    files.write_table(
        root / "participants.tsv",
        ("participant_id", "age", "sex", "diagnosis", "simulated"),
        [(p.label, p.visits[0].age, p.sex, p.visits[0].diagnosis, "true") for p in people],
    )
    for person in people:
        files.write_table(
            root / person.label / f"{person.label}_sessions.tsv",
            ("session_id", "age", "mri_days", "pet_days"),
            [(v.session, v.age, v.mri_day, v.pet_day) for v in person.visits],
        )
    for name in ("diagnosis", "mmse"):
        files.write_table(
            root / "phenotype" / f"{name}.tsv",
            ("participant_id", "session_id", name),
            [(p.label, v.session, getattr(v, name)) for p in people for v in p.visits],
        )
    files.write_json(root / "phenotype" / "diagnosis.json", _DIAGNOSIS)
    files.write_json(root / "phenotype" / "mmse.json", _MMSE)


_DIAGNOSIS = {
    "diagnosis": {
        "Description": "Clinical diagnosis at the visit (simulated)",
        "Levels": {
            "CN": "cognitively normal",
            "MCI": "mild cognitive impairment",
            "AD": "Alzheimer's disease",
        },
    }
}
_MMSE = {
    "mmse": {"Description": "Mini-Mental State Examination, 0 to 30 (simulated)", "Units": "points"}
}
