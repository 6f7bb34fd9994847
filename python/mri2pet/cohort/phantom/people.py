"""Who the simulated people are: diagnosis, age, atrophy, amyloid, MMSE and their visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIAGNOSES = ("CN", "MCI", "AD")

_SHARE = (0.40, 0.35, 0.25)
_AGE_YEARS = (72.5, 73.5, 75.0)
_SEVERITY = (0.20, 0.44, 0.76)
_POSITIVE = (0.28, 0.56, 0.87)
_LINK = 0.40
_VISITS = (0.72, 0.15, 0.08, 0.05)


@dataclass(frozen=True)
class Visit:
    """One visit. Days count from baseline; `mri_day` or `pet_day` is None without that scan."""

    session: str
    mri_day: int | None
    pet_day: int | None
    diagnosis: str
    age: float
    mmse: int
    severity: float
    amyloid: float


@dataclass(frozen=True)
class Person:
    """One simulated person with 1 to 4 visits."""

    label: str
    number: int
    sex: str
    visits: tuple[Visit, ...]


def generator(seed: int, number: int, *purpose: int) -> np.random.Generator:
    """Random numbers that depend on the seed, the person and the purpose alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, *purpose])))


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _baseline(rng: np.random.Generator) -> tuple[int, float, float, float, bool]:
    """Diagnosis index, age (years), severity, amyloid load, and whether amyloid-positive.

    Within a diagnosis a Gaussian copula ties amyloid to atrophy; with the differences between
    diagnoses the correlation over the cohort is about 0.6.
    """
    diagnosis = int(rng.choice(3, p=_SHARE))
    age = float(np.clip(rng.normal(_AGE_YEARS[diagnosis], 6.5), 55.0, 92.0))
    shared, atrophy_only = rng.standard_normal(2)
    amyloid_only = float(rng.standard_normal())
    spread = (0.15, 0.18, 0.18)[diagnosis]
    severity = _SEVERITY[diagnosis] + spread * float(shared) + 0.004 * (age - 73.0)
    severity = float(np.clip(severity + 0.03 * atrophy_only, 0.0, 1.15))
    latent = _LINK * float(shared) + np.sqrt(1.0 - _LINK**2) * amyloid_only
    threshold = _normal_quantile(1.0 - _POSITIVE[diagnosis])
    positive = latent > threshold
    if positive:
        amyloid = 0.20 + 0.30 * (latent - threshold) + 0.04 * diagnosis
        amyloid += 0.08 * float(rng.standard_normal())
    else:
        amyloid = 0.02 + 0.025 * float(rng.standard_normal())
    low, high = (0.14, 1.05) if positive else (-0.06, 0.08)
    return diagnosis, age, severity, float(np.clip(amyloid, low, high)), positive


def _mmse(rng: np.random.Generator, severity: float, amyloid: float) -> int:
    expected = 29.4 - 9.0 * max(severity - 0.15, 0.0) ** 1.3 - 1.8 * max(amyloid, 0.0)
    return int(np.clip(round(expected + rng.normal(0.0, 1.1)), 4, 30))


def draw_person(seed: int, number: int, *, paired: bool) -> Person:
    """Draw one person.

    Args:
        seed: of the cohort.
        number: from 1; with the seed it decides everything.
        paired: whether the person has PET beside the MRI at the first visit; else no PET at all.
    """
    rng = generator(seed, number, 0)
    diagnosis, age, severity, amyloid, positive = _baseline(rng)
    sex = "F" if rng.random() < 0.5 else "M"
    count = 1 + int(rng.choice(4, p=_VISITS))
    wasting = (0.012, 0.035, 0.06)[diagnosis] * rng.uniform(0.5, 1.5)
    deposition = (0.03 if positive else 0.003) * rng.uniform(0.5, 1.5)
    visits = []
    day = 0
    for index in range(count):
        years = day / 365.25
        now = diagnosis
        level = float(min(severity + wasting * years, 1.25))
        load = float(min(amyloid + deposition * years, 1.1))
        if positive and now < 2 and level > _SEVERITY[now + 1]:
            now += 1
        has_mri, has_pet = True, paired and (index == 0 or rng.random() < 0.5)
        if paired and index == count - 1 and index > 0 and rng.random() < 0.3:
            has_mri, has_pet = False, True
        apart = int(np.clip(rng.normal(0.0, 70.0), -330, 330)) if has_mri else 0
        visits.append(
            Visit(
                session=f"ses-{index + 1:02d}",
                mri_day=day if has_mri else None,
                pet_day=day + apart if has_pet else None,
                diagnosis=DIAGNOSES[now],
                age=round(age + years, 1),
                mmse=_mmse(rng, level, load),
                severity=level,
                amyloid=load,
            )
        )
        day += int(rng.integers(735, 900))
    return Person(f"sub-phantom{number:04d}", number, sex, tuple(visits))
