"""How far atrophy has gone in the MRIs of a cohort: what figures choose and sort people by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow

DARKEST = 1.0  # percentile of the brain that is surely CSF in a T1
FEWEST_CN = 10


@dataclass(frozen=True)
class Atrophy:
    """Row name → a measure that is greater where more of the brain is lost, and what it is.

    `adjusted` is the same less what age explains; the measure itself where that is not known.
    """

    values: dict[str, float]
    adjusted: dict[str, float]
    measure: str
    adjustment: str


def atrophy_of(cohort: CohortCache, rows: Sequence[ManifestRow]) -> Atrophy:
    """Of some scans of a cohort in model space.

    In a simulated cohort the true severity; else the CSF share of the brain mask, less its linear
    regression on age over the cognitively normal people of the training split.
    """
    true = [_severity(row) for row in rows]
    names = [row.name for row in rows]
    if all(value is not None for value in true):
        values = {n: float(v) for n, v in zip(names, true, strict=True) if v is not None}
        return Atrophy(values, values, "true severity of the simulation", "not adjusted for age")
    values = {row.name: csf_share(cohort, row) for row in rows}
    measure = "CSF share of the brain mask"
    if any(row.age is None for row in rows):
        return Atrophy(values, values, measure, "not adjusted for age, which is unknown for some")
    normal = [
        row
        for row in cohort.rows("train", paired=False)
        if row.diagnosis == "CN" and row.age is not None
    ]
    ages = np.array([row.age for row in normal], dtype=np.float64)
    if len(normal) < FEWEST_CN or np.ptp(ages) < 1:
        why = f"not adjusted for age: {len(normal)} training CN, {FEWEST_CN} are needed"
        return Atrophy(values, values, measure, why)
    slope = float(np.polyfit(ages, [csf_share(cohort, row) for row in normal], 1)[0])
    centre = float(ages.mean())
    adjusted = {row.name: values[row.name] - slope * ((row.age or 0.0) - centre) for row in rows}
    return Atrophy(
        values,
        adjusted,
        measure,
        f"less its regression on age over {len(normal)} training CN ({slope:+.4f} a year)",
    )


def csf_share(cohort: CohortCache, row: ManifestRow) -> float:
    """Share of the brain mask that is CSF, on the PET grid: 0 to 1.

    CSF is what is darker than the middle between the darkest hundredth and the median of the brain,
    so that it depends little on the contrast of the scan.
    """
    mri = np.asarray(cohort.mri_on_pet_grid(row), dtype=np.float32)
    brain = np.asarray(cohort.brain(row), dtype=np.float32)
    inside = brain > 0.5
    dark = mri < float(np.percentile(mri[inside], [DARKEST, 50.0]).mean())
    return float(brain[inside & dark].sum() / brain[inside].sum())


def _severity(row: ManifestRow) -> float | None:
    if row.truth is None:
        return None
    value = json.loads(row.truth.read_text()).get("severity")
    return None if value is None else float(value)
