"""The PETs of a cohort for the networks to read, made once and kept: measured, drawn, mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.on_ray import ray_map
from mri2pet.cohort.parallel import single_threaded_map
from mri2pet.downstream.groups import without_tested
from mri2pet.downstream.pets import is_current, write_pet
from mri2pet.downstream.settings import Pet
from mri2pet.errors import Mri2petError
from mri2pet.evaluation.rivals import Rivals, fit_rivals
from mri2pet.evaluation.rows import draw
from mri2pet.evaluation.settings import Sampling

OnPet = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Wanted:
    """A PET that a network will read: which kind, of which row, drawn by which model."""

    kind: Pet
    row: ManifestRow
    model: str = ""
    sha256: str = ""

    def path(self, out: Path) -> Path:
        """Where it lies."""
        folder = {
            "measured": Path("measured"),
            "drawn": Path("drawn") / self.sha256[:16],
            "mean": Path("cohort_mean"),
        }[self.kind]
        return out / folder / f"{self.row.name}.npy"


@dataclass(frozen=True)
class Making:
    """How the PETs are made and where they go."""

    out: Path
    cohort: CohortCache
    sampling: Sampling
    device: str
    jobs: int
    ray: str | None


def missing_pets(wanted: Iterable[Wanted], making: Making) -> list[Wanted]:
    """Those that are not there, each once."""
    return [
        pet
        for pet in dict.fromkeys(wanted)
        if not is_current(pet.path(making.out), making.cohort, pet.row)
    ]


def make_pets(wanted: Iterable[Wanted], making: Making, on_pet: OnPet) -> None:
    """Makes those that are missing; the others are kept.

    Args:
        on_pet: called as (kind, finished, to do, row name).

    Raises:
        Mri2petError: one of them cannot be made; those that were made stay.
    """
    missing = missing_pets(wanted, making)
    for kind in ("measured", "drawn", "mean"):
        of_kind = [pet for pet in missing if pet.kind == kind]
        if not of_kind:
            continue
        rivals = fit_rivals(without_tested(making.cohort)) if kind == "mean" else None
        work = partial(_make, making, rivals)
        one = making.device == "cuda" and kind == "drawn"
        if making.ray is not None:
            results = ray_map(work, of_kind, making.jobs, making.ray, gpus=int(one))
        else:
            results = single_threaded_map(work, of_kind, 1 if one else making.jobs)
        for done, (pet, error) in enumerate(results, start=1):
            if error is not None:
                raise Mri2petError(f"{pet.row.name}: {error}")
            on_pet(kind, done, len(of_kind), pet.row.name)


def _make(making: Making, rivals: Rivals | None, pet: Wanted) -> str | None:
    """Makes one, in a worker. Returns why it failed, or None."""
    cohort, row = making.cohort, pet.row
    try:
        if pet.kind == "measured":
            made = cohort.pet(row)
        elif rivals is not None:
            made = rivals.warped_cohort_mean(np.asarray(cohort.mri(row), dtype=np.float32))
        else:
            network = _loaded(pet.model, making.device)
            mri = np.asarray(cohort.mri(row), dtype=np.float32)
            made = draw(network, mri, row, making.sampling).samples[0]
        write_pet(pet.path(making.out), made, cohort, row)
    except Mri2petError as error:
        return str(error)
    return None


@lru_cache(maxsize=1)
def _loaded(model: str, device: str) -> Any:
    """Once in a worker: the tasks of one model follow each other."""
    from mri2pet.checkpoint import load_model

    return load_model(model, device)
