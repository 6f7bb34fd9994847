"""`calibration.json`, beside `model.json`: what turns samples of this model into intervals.

That of an ensemble lies beside its first member's, as `calibration-<its hash>.json`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat

from mri2pet.checkpoint import Model, find_model
from mri2pet.descriptions import hash_of, read_description, write_description
from mri2pet.engines.choose import Named, named
from mri2pet.errors import ModelError, Mri2petError
from mri2pet.files import temporary_beside
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, recorded_reference
from mri2pet.imaging.suvr.regions import STORED
from mri2pet.quantification.status import share_above
from mri2pet.uncertainty.conformal import people_needed

FORMAT: Literal[2] = 2
CALIBRATION = "calibration.json"
LEVEL = 0.9  # of the interval that a result is given with
NOT_CALIBRATED = "not calibrated for these settings"
SHA256 = "^[0-9a-f]{64}$"
METHODS = {
    "plain": "split-conformal, score |y − m|",
    "scaled": "split-conformal, score |y − m| / max(s, s₀)",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CoverageRecord(_Strict):
    """How many of `of` people an interval of this level covered; null: infinite.

    `low` and `high` bound the share (Clopper–Pearson, 95 %); `width` is the mean one, SUVR.
    """

    level: float
    hits: int
    of: int
    low: FiniteFloat
    high: FiniteFloat
    width: FiniteFloat | None


class RegionCalibration(_Strict):
    """Of one region.

    Attributes:
        score: which kind bounds the interval, see `conformal.choose_score`.
        spread_floor: s₀, SUVR.
        q: level → bound of the score, SUVR for `plain`; null: infinite, too few people.
        residuals: measured minus m, SUVR, sorted.
        interval_scores: of both kinds at 90 %, each person left out in turn.
        raw, left_out: coverage of m ± z · SD of the samples, and of the interval, each person
            left out in turn.
        spread_factor: √(mean error² / mean s²), what the spread would have to grow by; null for
            fewer than 30 people, or without spread.
    """

    score: Literal["plain", "scaled"]
    spread_floor: NonNegativeFloat
    q: dict[str, NonNegativeFloat | None]
    residuals: list[FiniteFloat]
    interval_scores: dict[str, FiniteFloat | None]
    raw: list[CoverageRecord]
    left_out: list[CoverageRecord]
    spread_factor: NonNegativeFloat | None


class CalibrationCohort(_Strict):
    """Whom it was made from. `key` tells cohorts apart and says no path; `name` may be empty."""

    name: str
    key: str
    people: int = Field(ge=2)
    split: str
    registration: str
    simulated: bool

    @property
    def kind(self) -> str:
        """Of people."""
        return "simulated people" if self.simulated else "people"

    @property
    def described(self) -> str:
        """`50 simulated people of NAME`, or without a name `50 simulated people`."""
        return f"{self.people} {self.kind}" + (f" of {self.name}" if self.name else "")


class Member(_Strict):
    """A model of an ensemble."""

    name: str
    sha256: str = Field(pattern=SHA256)


class CalibrationSettings(_Strict):
    """What a result must share with the calibration for its intervals to hold."""

    sampler: str
    steps: int
    samples: int
    reference: str
    composite: dict[str, str]


class Calibration(_Strict):
    """All of `calibration.json`.

    `joint` maps a level to one bound of |y − m| / max(s, s₀) that holds for all regions at once.
    `members` are an ensemble's models in their order, whose hash is then `model_sha256`.
    """

    format: Literal[2]
    mri2pet: str
    model_sha256: str = Field(pattern=SHA256)
    settings: CalibrationSettings
    cohort: CalibrationCohort
    regions: dict[str, RegionCalibration]
    joint: dict[str, NonNegativeFloat | None]
    created: str
    members: list[Member] = []

    @property
    def sha256(self) -> str:
        """Names this calibration, its date left out."""
        return hash_of(self.model_dump(mode="json", exclude={"created"}))

    def half_width(self, region: str, spread: float, level: float = LEVEL) -> float:
        """Half the interval, SUVR, of a person with this SD of samples; may be infinite."""
        of = self.regions[region]
        q = of.q[str(level)]
        if q is None:
            return math.inf
        return q if of.score == "plain" else q * max(spread, of.spread_floor)

    def interval(
        self, region: str, mean: float, spread: float, *, simulated: bool = False
    ) -> dict[str, Any] | None:
        """The 90 % interval, SUVR, as a sidecar holds it; None where people are too few.

        Args:
            mean: SUVR of the region in the mean of the samples (`engines.mean`).
            spread: SD of the samples' SUVR there.
            simulated: the model itself was trained on simulated people.
        """
        half = self.half_width(region, spread)
        if not math.isfinite(half):
            return None
        return {
            "level": LEVEL,
            "low": mean - half,
            "high": mean + half,
            "method": METHODS[self.regions[region].score],
            "people": self.cohort.people,
            "cohort": self.cohort.name or self.cohort.kind,
            "label": self.label(simulated=simulated),
        }

    def label(self, *, simulated: bool = False) -> str:
        """What the interval is, in words."""
        cohort = self.cohort
        if not math.isfinite(self.half_width("cortex", 0.0)):
            return f"no {100 * LEVEL:g} % interval: {too_few(LEVEL, cohort.people)}"
        text = f"{100 * LEVEL:g} % interval, calibrated on {cohort.described}"
        if cohort.registration == "truth":
            text += ", whose registration was known"
        if simulated:
            text += "; the model was trained on simulated people"
        return text

    def probability_above(self, mean: float, threshold: float) -> float:
        """P(a measured cortical SUVR > threshold) of a person whose mean PET has this one."""
        return share_above(mean, self.regions["cortex"].residuals, threshold)

    def misfits(self, settings: CalibrationSettings) -> list[str]:
        """The settings in which a result differs, `steps 10 instead of 25`; empty if it fits."""
        ours, theirs = self.settings.model_dump(), settings.model_dump()
        return [
            f"another {name}"
            if name in ("reference", "composite")
            else f"{name} {theirs[name]} instead of {ours[name]}"
            for name in ours
            if ours[name] != theirs[name]
        ]


def too_few(level: float, people: int) -> str:
    """The sentence for an infinite interval."""
    return f"it needs at least {people_needed(level)} people, and there are {people}"


def settings_of(
    provenance: Mapping[str, Any], *, sampler: str, steps: int, samples: int
) -> CalibrationSettings:
    """Of a result, or of an evaluation, of a model with this provenance."""
    key = recorded_reference(provenance)["key"]
    return CalibrationSettings(
        sampler=sampler,
        steps=steps,
        samples=samples,
        reference=CEREBELLUM if key == MINMAX else key,
        composite={"name": "built-in", "sha256": _regions_sha256()},
    )


@lru_cache(maxsize=1)
def _regions_sha256() -> str:
    return hashlib.sha256(STORED.read_bytes()).hexdigest()


def trained_on_simulated(provenance: Mapping[str, Any]) -> bool:
    """Whether a model, or one of an ensemble, learnt from simulated people.

    Only they bring their registration, so a model without the entry tells by that.
    """
    if members := provenance.get("members"):
        return any(trained_on_simulated(member["provenance"]) for member in members)
    registration = provenance.get("config", {}).get("data", {}).get("registration")
    return bool(provenance.get("simulated", registration == "truth"))


def calibration_path(model: Named | Sequence[Named], sha256: str) -> Path | None:
    """Where the calibration of a model, or of an export, lies; None for a loaded model.

    Args:
        model: several make an ensemble, whose calibration lies with the first.
        sha256: of the model or the ensemble.
    """
    first, *others = named(model)
    if isinstance(first, Model):
        return None
    name = f"calibration-{sha256[:12]}.json" if others else CALIBRATION
    try:
        return find_model(first) / name
    except ModelError:
        return Path(first) / name  # an export, beside its manifest


def read_calibration(model: Named | Sequence[Named], sha256: str) -> Calibration | None:
    """The calibration of a model, or of an ensemble, with this hash; None where there is none.

    Raises:
        ModelError: it cannot be read, was changed, is of another version, or of another model.
    """
    path = calibration_path(model, sha256)
    if path is None or not path.is_file():
        return None
    tree = read_description(path)
    again = "run mri2pet calibrate again, or remove the file"
    if tree.get("format") != FORMAT:
        raise ModelError(f"{path}: is not of calibration format {FORMAT}; {again}")
    calibration = Calibration.model_validate(read_description(path, Calibration))
    if calibration.model_sha256 != sha256:
        raise ModelError(f"{path}: was made for another model; {again}")
    return calibration


def check_writable(path: Path) -> None:
    """Refuse a place where no calibration can be written, before PETs are drawn for one.

    Raises:
        Mri2petError: as `write_calibration`.
    """
    try:
        temporary_beside(path).unlink()
    except OSError as error:
        raise _not_writable(path, error) from None


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Writes it whole, with its hash.

    Raises:
        Mri2petError: the folder of the model cannot be written to.
    """
    try:
        write_description(path, calibration.model_dump(mode="json"))
    except OSError as error:
        raise _not_writable(path, error) from None


def _not_writable(path: Path, error: OSError) -> Mri2petError:
    return Mri2petError(
        f"{path}: cannot be written ({error.strerror}); copy the model to a folder of your own "
        "and calibrate that"
    )
