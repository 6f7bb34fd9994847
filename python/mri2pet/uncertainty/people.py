"""The people of an evaluation: what was drawn for each and what was measured, region by region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.evaluation.stored import read_evaluation
from mri2pet.tables import read_table

CORTEX = "cortex"
MIN_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class People:
    """The first scan of each person of an evaluation.

    Attributes:
        settings: of the evaluation, as its folder holds them.
        subjects: their names, `P` of them. rows: the names of their scans.
        drawn: region → SUVR of every sample, `[P, K]`.
        mean: region → SUVR of the mean of the samples (`engines.mean`), `[P]`.
        measured: region → SUVR of the measured PET, `[P]`.
        voxels: sums over the brains' voxels: count, variance (of the samples), squared_error (of
            their plain mean).
        simulated: the people come from a simulated cohort, whose true values are known.
    """

    settings: dict[str, Any]
    subjects: list[str]
    drawn: dict[str, np.ndarray]
    mean: dict[str, np.ndarray]
    measured: dict[str, np.ndarray]
    voxels: dict[str, float]
    simulated: bool
    rows: list[str]

    def __len__(self) -> int:
        return len(self.measured[CORTEX])

    @property
    def samples(self) -> int:
        """K."""
        return self.drawn[CORTEX].shape[1]

    @cached_property
    def spread(self) -> dict[str, np.ndarray]:
        """Region → standard deviation of the samples (K − 1), `[P]`, SUVR."""
        return {name: drawn.std(axis=1, ddof=1) for name, drawn in self.drawn.items()}


def read_people(out: Path) -> People:
    """Of the folder that an evaluation wrote.

    A person's first scan is the first one by name. Scans whose regional SUVR is not finite are
    left out.

    Raises:
        InputError: the folder holds no finished evaluation, or no usable scan.
    """
    try:
        stored = read_evaluation(out)
        first: dict[str, dict[str, Any]] = {}
        for name in sorted({line["row"] for line in read_table(out / "metrics.tsv")}):
            if _finite(record := stored.records[name]):
                first.setdefault(record["subject"], record)
    except (InputError, KeyError):
        raise InputError(
            f"{out}: holds no finished evaluation of this version; run mri2pet evaluate again."
        ) from None
    if not first:
        raise InputError(
            f"{out}: no scan of this evaluation has a regional SUVR; look at its PETs."
        )
    kept = list(first.values())
    regions = list(kept[0]["measured"])
    return People(
        settings=stored.settings,
        subjects=list(first),
        drawn={name: np.array([record["drawn"][name] for record in kept]) for name in regions},
        mean={name: np.array([record["mean"][name] for record in kept]) for name in regions},
        measured={name: np.array([r["measured"][name] for r in kept]) for name in regions},
        voxels={
            name: sum(record["voxels"][name] for record in kept)
            for name in ("count", "variance", "squared_error")
        },
        simulated=all(record["true_cortical_suvr"] is not None for record in kept),
        rows=[record["row"] for record in kept],
    )


def _finite(record: dict[str, Any]) -> bool:
    values = [
        *record["drawn"].values(),
        *(list(record[of].values()) for of in ("mean", "measured")),
    ]
    return all(bool(np.isfinite(of).all()) for of in values)
