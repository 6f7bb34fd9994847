"""PET-like MRIs of a whole cohort, resumable at any volume.

    OUT/style.json               settings, origin of the weights, cohort in model space
    OUT/rows/<row>.npy           float16 [K, I, J] in [0, 1] on the PET grid
    OUT/rows/<row>.json          style image, losses, steps, seconds
    OUT/failures.tsv             rows that could not be made, and why

A row's JSON is written last, so a row that has one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.on_ray import ray_map
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.files import written_whole
from mri2pet.style.transfer import StyleOptions, Stylized, stylize, unit_range
from mri2pet.style.vgg import Vgg19
from mri2pet.tables import write_tsv

FORMAT = 1
STYLES = ("random", "mean")
OnSubject = Callable[[int, int, str, str | None], None]


@dataclass(frozen=True)
class StylizedCohort:
    """What `stylize_cohort` made.

    Attributes:
        root: the folder.
        done: names of the rows that are complete.
        failures: row name → why it could not be made.
        settings: how they were made, as in style.json.
    """

    root: Path
    done: tuple[str, ...]
    failures: dict[str, str]
    settings: dict[str, Any]

    def volume(self, name: str) -> np.ndarray:
        """float16 `[K, I, J]` in [0, 1] on the PET grid."""
        return np.load(self.root / "rows" / f"{name}.npy", mmap_mode="r")


def read_stylized(root: Path | str, cache: CohortCache) -> StylizedCohort:
    """The PET-like MRIs that `stylize_cohort` made of this cohort, as far as it went.

    Raises:
        InputError: no such folder, or its volumes are of another cohort in model space.
    """
    root = Path(root)
    try:
        settings = json.loads((root / "style.json").read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{root}: holds no PET-like MRIs; make them with mri2pet stylize."
        ) from None
    if settings.get("cache") != cache.root.name:
        raise InputError(
            f"{root}: its PET-like MRIs are of another cohort, grid, registration or reference "
            "than this training; make them again with mri2pet stylize and the same settings."
        )
    names = sorted(path.stem for path in (root / "rows").glob("*.json"))
    return StylizedCohort(root, tuple(n for n in names if _complete(root, n)), {}, settings)


def stylize_cohort(
    cache: CohortCache,
    out: Path | str,
    vgg: Vgg19,
    *,
    options: StyleOptions | None = None,
    style: str = "random",
    seed: int = 0,
    split: str | None = "train",
    limit: int | None = None,
    jobs: int = 1,
    ray: str | None = None,
    on_subject: OnSubject | None = None,
) -> StylizedCohort:
    """Make the MRIs of a cohort PET-like; rows that are complete are kept.

    Args:
        cache: the cohort in model space, with the MRIs that have no PET if they shall be made.
        out: where; one folder holds one setting.
        style: `random` (a training PET drawn for each MRI from the seed and the MRI's name) or
            `mean` (the mean of all training PETs).
        split: of the MRIs; None for all. Style images come from the training split alone.
        limit: only the first so many.
        ray: on a Ray cluster, one thread an MRI: `local` (of `jobs` workers) or an address.
        on_subject: called as (rows finished, rows to do, row name, error or None).

    Raises:
        UsageError: impossible options, or `out` holds volumes of other settings.
        InputError: no training PET, or no MRI.
        Mri2petError: the folder cannot be written.
    """
    options = options or StyleOptions()
    options.check()
    options = replace(options, style_weight=options.weight_for(vgg.origin))
    if style not in STYLES:
        raise UsageError(f"style {style!r} is none of {', '.join(STYLES)}.")
    pets = cache.rows("train")
    rows = cache.rows(split, paired=False)[:limit]
    if not pets or not rows:
        what = "training PET to take the style from" if not pets else f"MRI in the split {split}"
        raise InputError(f"{cache.manifest.root}: has no usable {what}.")
    settings = {
        "format": FORMAT,
        "cache": cache.root.name,
        "pet_shape": list(cache.pet_shape),
        "style": style,
        "seed": seed,
        "style_pets": [row.name for row in pets],
        **options.as_dict(),
        "vgg": vgg.origin.as_dict(),
    }
    root = Path(out)
    try:
        _claim(root, settings)
        work = _Work(cache, root, _Styles(cache, pets, style, seed), vgg, options)
        failures = _fill(work, rows, jobs, ray, on_subject)
    except OSError as error:
        raise Mri2petError(f"{root}: cannot be written ({error.strerror}).") from error
    done = tuple(row.name for row in rows if _complete(root, row.name))
    return StylizedCohort(root, done, failures, settings)


def chosen_style(seed: int, name: str, count: int) -> int:
    """Which of `count` style images an MRI gets: uniform, from the seed and its name alone.

    So it depends neither on the order of the MRIs nor on which are made in one go.
    """
    digest = hashlib.sha256(f"style:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * count >> 64


class _Styles:
    """Style images in [0, 1] on the PET grid, and their names."""

    def __init__(
        self, cache: CohortCache, pets: Sequence[ManifestRow], style: str, seed: int
    ) -> None:
        self.cache, self.pets, self.seed = cache, pets, seed
        self.mean: np.ndarray | None = None
        if style == "mean":
            total = np.zeros(cache.pet_shape)
            for row in pets:
                total += cache.pet(row)
            self.mean = unit_range(total / len(pets))

    def of(self, name: str) -> tuple[str, np.ndarray]:
        if self.mean is not None:
            return f"mean of {len(self.pets)} PETs", self.mean
        row = self.pets[chosen_style(self.seed, name, len(self.pets))]
        return row.name, unit_range(self.cache.pet(row))


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or check that they are those of the volumes that are there."""
    path = root / "style.json"
    (root / "rows").mkdir(parents=True, exist_ok=True)
    if path.exists():
        found = json.loads(path.read_text())
        other = sorted(k for k in settings | found if settings.get(k) != found.get(k))
        if other:
            raise UsageError(
                f"{root}: holds volumes made with other settings ({', '.join(other)}); "
                "choose another folder."
            )
        return
    with written_whole(path) as part:
        part.write_text(json.dumps(settings, indent=2) + "\n")


def _complete(root: Path, name: str) -> bool:
    return (root / "rows" / f"{name}.json").exists() and (root / "rows" / f"{name}.npy").exists()


@dataclass(frozen=True)
class _Work:
    """Makes and writes one row; travels to the workers of a cluster."""

    cache: CohortCache
    root: Path
    styles: _Styles
    vgg: Vgg19
    options: StyleOptions

    def __call__(self, row: ManifestRow) -> str | None:
        """Why the row could not be made, or None."""
        start = time.perf_counter()
        try:
            source, image = self.styles.of(row.name)
            made = stylize(self.cache.mri(row), image, self.vgg, self.options)
            if not np.isfinite(made.kij).all():
                raise InputError("the optimisation gave values that are not finite")
            _write(self.root, row.name, made, source, self.vgg, time.perf_counter() - start)
        except (Mri2petError, ValueError) as problem:
            return str(problem)
        return None


def _fill(
    work: _Work,
    rows: Sequence[ManifestRow],
    jobs: int,
    ray: str | None,
    on_subject: OnSubject | None,
) -> dict[str, str]:
    root = work.root
    missing = [row for row in rows if not _complete(root, row.name)]
    failures: dict[str, str] = {}
    on_gpu = next(work.vgg.parameters()).device.type == "cuda"
    results = (
        ((row, work(row)) for row in missing)
        if ray is None
        else ray_map(work, missing, jobs, ray, gpus=int(on_gpu))
    )
    for done, (row, error) in enumerate(results, start=1):
        if error is not None:
            failures[row.name] = error
        if on_subject is not None:
            on_subject(done, len(missing), row.name, error)
    write_tsv(
        root / "failures.tsv",
        ("row", "error"),
        [{"row": name, "error": reason} for name, reason in failures.items()],
    )
    return failures


def _write(root: Path, name: str, made: Stylized, source: str, vgg: Vgg19, seconds: float) -> None:
    record = {
        "style_image": source,
        "pretrained_vgg": vgg.origin.pretrained,
        "loss_first": [float(v) for v in made.loss_first],
        "loss_last": [float(v) for v in made.loss_last],
        "steps": made.steps.tolist(),
        "diverged_slices": np.flatnonzero(made.diverged).tolist(),
        "seconds": round(seconds, 3),
    }
    rows = root / "rows"
    with written_whole(rows / f"{name}.npy") as part, part.open("wb") as file:
        np.save(file, made.kij.astype(np.float16))
        file.flush()
        os.fsync(file.fileno())
    with written_whole(rows / f"{name}.json") as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
