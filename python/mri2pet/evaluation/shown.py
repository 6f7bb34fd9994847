"""What a figure of a cohort is drawn from: the scans that some evaluations have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.made_caches import made_caches
from mri2pet.cohort.manifest import ManifestRow, load_manifest
from mri2pet.errors import InputError, UsageError
from mri2pet.evaluation.compare import common_rows, titles
from mri2pet.evaluation.methods import within_support
from mri2pet.evaluation.stored import Stored, read_evaluation
from mri2pet.report.sheet import HIGH_SUVR, Panel


class NobodyToShowError(InputError):
    """A cohort without the people that a figure is about."""


@dataclass(frozen=True)
class Shown:
    """Evaluations of the same scans, and the cohort that these are of.

    Attributes:
        titles: of the evaluations, as the paper calls their models.
        rows: those that all evaluations have and that are in model space.
        as_paper: each picture from its own least to its own greatest value, nothing masked.
    """

    cohort: CohortCache
    stored: list[Stored]
    titles: list[str]
    rows: list[ManifestRow]
    as_paper: bool

    def mri(self, row: ManifestRow, places: tuple[float, ...], text: str = "") -> Panel:
        """The MRI on the PET grid."""
        return Panel(np.asarray(self.cohort.mri_on_pet_grid(row)), places, 1.0, text=text)

    def measured(self, row: ManifestRow, places: tuple[float, ...], text: str = "") -> Panel:
        """The measured PET."""
        return self._pet(np.asarray(self.cohort.pet(row), dtype=np.float32), places, text, False)

    def drawn(
        self, row: ManifestRow, places: tuple[float, ...], text: str = "", number: int = 0
    ) -> Panel:
        """One sample of an evaluation."""
        return self._pet(self.sample(row, number), places, text, True)

    def sample(self, row: ManifestRow, number: int = 0) -> np.ndarray:
        """The first sample of an evaluation: float32 `[K, I, J]`, SUVR, in the dilated brain."""
        with np.load(self.stored[number].out / "subjects" / f"{row.name}.npz") as arrays:
            drawn = arrays["one_sample"].astype(np.float32)
        if drawn.shape != self.cohort.pet_shape:
            raise UsageError(
                f"{self.stored[number].out}: its PETs are of the grid {drawn.shape}, others of "
                f"{self.cohort.pet_shape}; show evaluations of one grid"
            )
        return drawn if self.as_paper else within_support(drawn, np.asarray(self.cohort.brain(row)))

    def _pet(self, kij: np.ndarray, places: tuple[float, ...], text: str, drawn: bool) -> Panel:
        low, high = (float(kij.min()), float(kij.max())) if self.as_paper else (0.0, HIGH_SUVR)
        return Panel(kij, places, high, low, drawn, text)


def open_shown(
    data: str | Path,
    evaluations: Sequence[str | Path],
    *,
    cache: str | Path | None = None,
    as_paper: bool = False,
) -> Shown:
    """The scans that some evaluations have in common.

    Args:
        data: the cohort that was evaluated.
        cache: where it is kept in model space; None for beside it.

    Raises:
        InputError: a folder without an evaluation; the cohort is another one, or not in model
            space any more.
        UsageError: no evaluation, or evaluations of other cohorts, splits or people.
    """
    if not evaluations:
        raise UsageError("give at least one folder of mri2pet evaluate (--evaluations OUT …)")
    stored = [read_evaluation(out) for out in evaluations]
    names, _ = common_rows(stored)
    first = stored[0]
    with np.load(first.out / "subjects" / f"{names[0]}.npz") as arrays:
        pet_shape = list(arrays["one_sample"].shape)
    wanted = {key: first.settings[key] for key in ("cohort", "registration", "reference")}
    caches = made_caches(load_manifest(data), cache, pet_shape=pet_shape, **wanted)
    for cohort in caches:
        rows = [row for row in cohort.rows() if row.name in set(names)]
        if rows:
            return Shown(cohort, stored, titles(stored), rows, as_paper)
    raise InputError(
        f"{data}: is not the cohort that {first.out} was made of, or is no longer in model space; "
        "give the evaluation's --data (and --cache)."
    )
