"""A cohort in model space on disk, made once and read through memory maps.

    CACHE/<key>/settings.json             what the key is the hash of
    CACHE/<key>/manifest_seed-<S>.tsv     rows and splits
    CACHE/<key>/passed_over.tsv           images of a tree that are in no row, and why
    CACHE/<key>/failures.tsv              rows that could not be prepared, and why
    CACHE/<key>/rows/<row>/               mri.npy, brain.npy, pet.npy, row.json

A row's folder gets its name when all of it is written, so a killed build goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.manifest import Manifest, ManifestRow, load_manifest
from mri2pet.cohort.on_ray import ray_map
from mri2pet.cohort.parallel import single_threaded_map
from mri2pet.cohort.passed_over import write_passed_over
from mri2pet.cohort.prepare import REGISTRATIONS, ModelSpaceSubject, Shape, prepare
from mri2pet.errors import InputError, Mri2petError, ProcessLost, UsageError
from mri2pet.files import written_whole
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.imaging.suvr.reference import CEREBELLUM, Reference
from mri2pet.tables import write_tsv

FORMAT = 3  # 2: frames of a dynamic PET are aligned, 12 parameters; 3: the T1 by cubic splines
OnSubject = Callable[[int, int, str, str | None], None]


def default_cache_dir(data: Path | str) -> Path:
    """`derivatives/mri2pet-cache` of the cohort; the user's cache folder if that is read-only."""
    root = Path(data).resolve()
    folder = root / "derivatives" / "mri2pet-cache"
    writable = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(writable, os.W_OK):
        return folder
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mri2pet" / hashlib.sha256(str(root).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CohortCache:
    """A cohort's rows that are in model space. Arrays are memory maps of float16.

    Attributes:
        root: the folder of this cache's key.
        settings: shapes, registration, reference, cohort and the version of deepbet, that the key
            is the hash of.
        manifest: all rows of the cohort, also those that failed or are not cached.
        failures: row name → why it could not be prepared.
    """

    root: Path
    settings: dict[str, Any]
    manifest: Manifest
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def mri_shape(self) -> Shape:
        """(K, I, J) of the MRI grid."""
        return _shape(self.settings["mri_shape"])

    @property
    def pet_shape(self) -> Shape:
        """(K, I, J) of the PET grid."""
        return _shape(self.settings["pet_shape"])

    def rows(self, split: str | None = None, *, paired: bool = True) -> list[ManifestRow]:
        """The cached rows of a split (of all for None); with `paired`, those with a PET."""
        return [r for r in self.manifest.select(split, paired=paired) if r.name in self._done]

    def mri(self, row: ManifestRow) -> np.ndarray:
        """float16 `[K, I, J]` in [0, 1] on the MRI grid."""
        return self._map(row, "mri")

    def brain(self, row: ManifestRow) -> np.ndarray:
        """float16 `[K, I, J]` on the PET grid: the fraction of each voxel that is brain."""
        return self._map(row, "brain")

    def pet(self, row: ManifestRow) -> np.ndarray:
        """float16 `[K, I, J]` on the PET grid: SUVR, or 0 to 1 for the reference `minmax`."""
        return self._map(row, "pet")

    def mri_on_pet_grid(self, row: ManifestRow) -> np.ndarray:
        """float16 `[K, I, J]` in [0, 1]: the MRI on the PET grid, made at the first call."""
        path = self._folder(row) / "mri_on_pet_grid.npy"
        if not path.exists():
            moved = to_pet_size(self.mri(row), self.pet_shape).astype(np.float16)
            with written_whole(path) as part, part.open("wb") as file:
                np.save(file, moved)
        return self._map(row, "mri_on_pet_grid")

    def record(self, row: ManifestRow) -> dict[str, Any]:
        """What was noted when the row was made: transforms, checks, seconds."""
        return json.loads((self._folder(row) / "row.json").read_text())

    @property
    def pet_mean(self) -> float:
        """Mean over all voxels of the training PETs, in their unit, background included."""
        return self._pet_moments[0]

    @property
    def pet_std(self) -> float:
        """Standard deviation over all voxels of the training PETs, in their unit."""
        return self._pet_moments[1]

    @cached_property
    def _pet_moments(self) -> tuple[float, float]:
        moments = [self.record(row)["pet_moments"] for row in self.rows("train")]
        if not moments:
            raise InputError(f"{self.manifest.root}: no training subject with a PET is usable.")
        count, total, squares = (math.fsum(m[i] for m in moments) for i in range(3))
        mean = total / count
        return mean, math.sqrt(max(squares / count - mean * mean, 0.0))

    @cached_property
    def _done(self) -> frozenset[str]:
        return frozenset(r.name for r in self.manifest if self.holds(r))

    def holds(self, row: ManifestRow) -> bool:
        """Whether the row is cached, from the files as they are now."""
        try:
            return self.record(row)["inputs"] == _inputs(row, self.manifest.root)
        except (OSError, ValueError, KeyError):
            return False

    def _folder(self, row: ManifestRow) -> Path:
        return self.root / "rows" / row.name

    def _map(self, row: ManifestRow, array: str) -> np.ndarray:
        return np.load(self._folder(row) / f"{array}.npy", mmap_mode="r")


def build_cache(
    data: Path | str,
    cache_dir: Path | str | None = None,
    *,
    mri_shape: Shape,
    pet_shape: Shape,
    registration: str = "estimate",
    reference: Reference | Path | str = CEREBELLUM,
    jobs: int = 1,
    ray: str | None = None,
    split_seed: int = 0,
    include_unpaired: bool = False,
    on_subject: OnSubject | None = None,
    on_note: Callable[[str], None] | None = None,
) -> CohortCache:
    """The cohort in model space; prepares the rows that are missing and keeps the others.

    Rows that fail are listed in `failures.tsv` and tried again by the next call. Two builds of
    the same cache take turns: the second waits, then finds the rows done.

    Args:
        data: a BIDS folder, or the table that `mri2pet cohort build` wrote of one.
        cache_dir: None for `default_cache_dir(data)`.
        registration: `truth` for simulated cohorts that bring their transforms.
        reference: scales the PETs; a setting of `Reference.of`, or what that returned.
        jobs: worker processes, one thread each.
        ray: prepare on a Ray cluster: `local` (of `jobs` workers) or an address.
        split_seed: of a folder; a table has its split.
        include_unpaired: also the MRIs that have no PET.
        on_subject: called as (rows finished, rows to do, row name, error or None).
        on_note: called before the work with a line each on what of a folder is taken, what is
            left out and what is doubtful; a table said it when it was made.

    Raises:
        InputError: no cohort in this folder, a reference that is no usable VOI, or not one row
            could be prepared.
        UsageError: impossible settings.
        Mri2petError: the cache cannot be written.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; it must be at least 1")
    scaled_by = reference if isinstance(reference, Reference) else Reference.of(reference)
    cache = find_cache(
        data,
        cache_dir,
        mri_shape=mri_shape,
        pet_shape=pet_shape,
        registration=registration,
        reference=scaled_by,
        split_seed=split_seed,
    )
    root, settings, manifest = cache.root, cache.settings, cache.manifest
    wanted = manifest.select(paired=not include_unpaired)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with written_whole(root / "settings.json") as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")
        if manifest.found is not None:
            manifest.write(root / f"manifest_seed-{split_seed}.tsv")
            write_passed_over(manifest.found.passed_over, root / "passed_over.tsv")
            for line in manifest.summary(root / "passed_over.tsv"):
                if on_note is not None:
                    on_note(line)
        if all(cache.holds(row) for row in wanted):
            return cache
        with _turn(root):
            failures = _fill(cache, wanted, scaled_by, jobs, ray, on_subject)
    except OSError as error:
        raise Mri2petError(f"{root}: the cache cannot be written ({error.strerror}).") from error
    if wanted and len(failures) == len(wanted):
        name, reason = next(iter(failures.items()))
        raise InputError(f"{manifest.root}: no subject could be prepared; {name}: {reason}")
    return CohortCache(root, settings, manifest, failures)


def find_cache(
    data: Path | str,
    cache_dir: Path | str | None = None,
    *,
    mri_shape: Shape,
    pet_shape: Shape,
    registration: str = "estimate",
    reference: Reference | Path | str = CEREBELLUM,
    split_seed: int = 0,
) -> CohortCache:
    """The cohort's cache as it lies on the disk: prepares nothing; arguments of `build_cache`.

    Raises:
        InputError: no cohort in this folder, or a reference that is no usable VOI.
        UsageError: an unknown registration.
    """
    if registration not in REGISTRATIONS:
        raise UsageError(f"registration {registration!r} is none of {', '.join(REGISTRATIONS)}")
    scaled_by = reference if isinstance(reference, Reference) else Reference.of(reference)
    manifest = load_manifest(data, seed=split_seed)
    settings = {
        "format": FORMAT,
        "cohort": hashlib.sha256(str(manifest.root).encode()).hexdigest()[:16],
        "mri_shape": list(_shape(mri_shape)),
        "pet_shape": list(_shape(pet_shape)),
        "registration": registration,
        "reference": scaled_by.key,
        **_extraction(registration),
    }
    root = Path(cache_dir or default_cache_dir(manifest.root)) / _key(settings)
    return CohortCache(root, settings, manifest)


def _extraction(registration: str) -> dict[str, str]:
    """What may find brains beside the template; nothing where their masks are known.

    Part of the key: rows of which some had no deepbet to fall back on do not mix with others.
    """
    from mri2pet.imaging.brain import deepbet

    version = deepbet.version() if registration == "estimate" else None
    return {} if version is None else {"deepbet": version}


def _key(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _fill(
    cache: CohortCache,
    wanted: list[ManifestRow],
    reference: Reference,
    jobs: int,
    ray: str | None,
    on_subject: OnSubject | None,
) -> dict[str, str]:
    rows = cache.root / "rows"
    rows.mkdir(exist_ok=True)
    for left_over in rows.glob(".part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    missing = [row for row in wanted if not cache.holds(row)]
    failures: dict[str, str] = {}
    tasks = [(row, cache.root, cache.manifest.root, cache.settings) for row in missing]
    work = partial(_make_row, reference)
    results = (
        single_threaded_map(work, tasks, jobs) if ray is None else ray_map(work, tasks, jobs, ray)
    )
    for done, (task, error) in enumerate(results, start=1):
        if error is not None:
            failures[task[0].name] = error
            _write_failures(cache, failures)
        if on_subject is not None:
            on_subject(done, len(missing), task[0].name, error)
    _write_failures(cache, failures)
    return failures


def _write_failures(cache: CohortCache, failures: dict[str, str]) -> None:
    rows = [
        {"subject": row.subject, "session": row.session or None, "error": failures[row.name]}
        for row in cache.manifest
        if row.name in failures
    ]
    write_tsv(cache.root / "failures.tsv", ("subject", "session", "error"), rows)


def _make_row(
    reference: Reference, task: tuple[ManifestRow, Path, Path, dict[str, Any]]
) -> str | None:
    """Prepares and writes one row, in a worker. Returns why it failed, or None."""
    row, root, data, settings = task
    start = time.perf_counter()
    try:
        here, asked = _extraction(settings["registration"]).get("deepbet"), settings.get("deepbet")
        if here != asked:
            raise InputError(
                f"{row.t1}: this worker has deepbet {here or '(none)'}, the cache was begun with "
                f"{asked or '(none)'}; install the same on all machines."
            )
        inputs = _inputs(row, data)
        subject = prepare(
            row,
            _shape(settings["mri_shape"]),
            _shape(settings["pet_shape"]),
            settings["registration"],
            reference,
        )
        record = {"inputs": inputs, "seconds": time.perf_counter() - start, **subject.details}
        _write_row(root / "rows" / row.name, subject, record)
    except ProcessLost:
        raise
    except Mri2petError as error:
        reason = str(error)
    except Exception as error:  # one subject's surprise must not end the cohort's work
        reason = f"{type(error).__name__}: {error}"
    else:
        return None
    return reason.replace(f"{data}{os.sep}", "")  # tables hold paths relative to the cohort


def _write_row(folder: Path, subject: ModelSpaceSubject, record: dict[str, Any]) -> None:
    part = Path(tempfile.mkdtemp(prefix=f".part-{folder.name}-", dir=folder.parent))
    part.chmod(0o755)
    arrays = {"mri": subject.mri, "brain": subject.brain}
    if subject.pet is not None:
        arrays["pet"] = subject.pet
        stored = subject.pet.astype(np.float16).astype(np.float64)
        record["pet_moments"] = [stored.size, stored.sum(), np.square(stored).sum()]
    try:
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"the {name} in model space has values that are not finite")
            with (part / f"{name}.npy").open("wb") as file:
                np.save(file, array.astype(np.float16))
                file.flush()
                os.fsync(file.fileno())
        (part / "row.json").write_text(json.dumps(record, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Holds the cache's lock; the system lets go of it when the process ends in any way."""
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _inputs(row: ManifestRow, data: Path) -> list[list[str | int]]:
    """Name, size and date of every file a row is made from: a changed file makes it anew."""
    paths = [p for p in (row.t1, row.pet, row.truth, row.pet_truth) if p is not None]
    stats = [(p, p.stat()) for p in paths]
    return [[p.relative_to(data).as_posix(), s.st_size, s.st_mtime_ns] for p, s in stats]


def _shape(shape: Any) -> Shape:
    k, i, j = (int(n) for n in shape)
    return k, i, j
