"""`calibrate`: intervals of a model from people with a measured PET."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet import __version__
from mri2pet.engines import load_engine
from mri2pet.errors import InputError, UsageError
from mri2pet.evaluation.evaluate import OnEvent, evaluate
from mri2pet.evaluation.settings import Sampling
from mri2pet.imaging.suvr.reference import CEREBELLUM
from mri2pet.uncertainty.calibration import (
    FORMAT,
    Calibration,
    CalibrationCohort,
    CoverageRecord,
    Member,
    RegionCalibration,
    calibration_path,
    check_writable,
    settings_of,
    too_few,
    write_calibration,
)
from mri2pet.uncertainty.conformal import (
    CHOICE_LEVEL,
    LEVELS,
    Kind,
    bound,
    choose_score,
    joint_scores,
    left_out_half_widths,
    left_out_scores,
    people_needed,
    plain_scores,
    scaled_scores,
    spread_floor,
)
from mri2pet.uncertainty.people import CORTEX, MIN_SAMPLES, People, read_people
from mri2pet.uncertainty.scores import Coverage, coverage, raw_interval

FACTOR_PEOPLE = 30
AS_SYNTHESIZE = Sampling(samples=4)
"""The draws of `mri2pet synthesize` unless told otherwise; a calibration holds for no others."""


@dataclass(frozen=True)
class CalibrationResult:
    """What was made.

    Attributes:
        path: of the calibration, beside the model.
        calibration: its content.
        failures: scans that could not be drawn, row name → why.
    """

    path: Path
    calibration: Calibration
    failures: dict[str, str]

    @property
    def table(self) -> str:
        """Coverage of cortical SUVR as a Markdown table, and what people are too few for."""
        cortex, people = self.calibration.regions[CORTEX], self.calibration.cohort.people
        lines = [
            "| nominal | samples' own spread covers | mean width | interval covers, "
            "each person left out | mean width |",
            "|---|---|---|---|---|",
        ]
        for raw, left_out in zip(cortex.raw, cortex.left_out, strict=True):
            cells = [f"{100 * raw.level:g} %", *_cells(raw), *_cells(left_out)]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", f"Cortical SUVR, {people} people; in brackets 95 % Clopper–Pearson."]
        lines += [
            f"No {100 * level:g} % interval: {too_few(level, people)}."
            for level in LEVELS
            if people < people_needed(level)
        ]
        return "\n".join(lines)


def _cells(record: CoverageRecord) -> list[str]:
    share = f"{record.hits} of {record.of} [{record.low:.2f}, {record.high:.2f}]"
    return [share, "infinite" if record.width is None else f"{record.width:.3f} SUVR"]


def calibrate(
    model: str | Path | Sequence[str | Path],
    *,
    data: str | Path,
    out: str | Path,
    split: str = "val",
    sampling: Sampling = AS_SYNTHESIZE,
    registration: str = "estimate",
    reference: str | Path = CEREBELLUM,
    training_data: str | Path | None = None,
    training_registration: str = "estimate",
    limit: int | None = None,
    cache: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    cohort_name: str | None = None,
    on_event: OnEvent | None = None,
) -> CalibrationResult:
    """Draws PETs for the people of a split and writes `calibration.json` beside the model.

    Of an ensemble it lies beside the first model, and holds for these models in this order alone.

    The drawing is an evaluation of that split, kept in `out`: a stopped one goes on by the same
    call, and one that is there already, made with the same settings, is used as it is.

    Args:
        split: `val`, `test`, or `all` for a cohort that the model has never seen.
        sampling: at least four samples; intervals hold for results drawn with the same samples,
            sampler and steps.
        cohort_name: how results call these people; None for the name of `data`'s folder or table,
            '' for no name.
        model, data, out, registration, reference, training_data, training_registration, limit,
            cache, jobs, device, on_event: see `evaluate`.

    Raises:
        UsageError: the training split, fewer than four samples, or what `evaluate` raises.
        InputError: fewer than two people, or what `evaluate` raises.
        Mri2petError: the calibration cannot be written beside the model.
    """
    if split == "train":
        raise UsageError(
            "--split train: the model has learnt these people, and would look surer than it is; "
            "take val, or all of another cohort"
        )
    if sampling.samples < MIN_SAMPLES:
        raise UsageError(f"samples must be at least {MIN_SAMPLES}, not {sampling.samples}")
    network = load_engine(model, engine="torch")
    path = calibration_path(model, network.sha256)
    assert path is not None
    check_writable(path)
    evaluation = evaluate(
        model,
        data=data,
        out=out,
        split=split,
        sampling=sampling,
        registration=registration,
        reference=reference,
        training_data=training_data,
        training_registration=training_registration,
        limit=limit,
        cache=cache,
        jobs=jobs,
        device=device,
        on_event=on_event,
    )
    people = read_people(evaluation.out)
    name = Path(data).resolve().name if cohort_name is None else " ".join(cohort_name.split())
    calibration = fit(people, name, network.provenance)
    write_calibration(path, calibration)
    return CalibrationResult(path, calibration, evaluation.failures)


def fit(people: People, cohort: str, provenance: dict[str, Any]) -> Calibration:
    """The calibration of the people of an evaluation.

    Args:
        cohort: its name, for people; may be ''.
        provenance: of the model.

    Raises:
        InputError: fewer than two people.
    """
    count, settings = len(people), people.settings
    if count < 2:
        needed = people_needed(CHOICE_LEVEL)
        raise InputError(
            f"{cohort or 'the cohort'}: the {settings['split']} split has one person with a "
            f"measured PET; a {100 * CHOICE_LEVEL:g} % interval needs at least {needed} people."
        )
    regions = list(people.measured)
    mean, spread, measured = (
        np.stack([of[name] for name in regions], axis=1)
        for of in (people.mean, people.spread, people.measured)
    )
    joint = joint_scores(mean, spread, measured)
    return Calibration(
        format=FORMAT,
        mri2pet=__version__,
        model_sha256=settings["model_sha256"],
        settings=settings_of(
            provenance,
            sampler=settings["sampler"],
            steps=settings["steps"],
            samples=settings["samples"],
        ),
        cohort=CalibrationCohort(
            name=cohort,
            key=settings["cohort"],
            people=count,
            split=settings["split"],
            registration=settings["registration"],
            simulated=people.simulated,
        ),
        regions={name: _region(people, name) for name in regions},
        joint={str(level): _finite(bound(joint, level)) for level in LEVELS},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        members=[Member(**member) for member in settings.get("members", [])],
    )


def _region(people: People, name: str) -> RegionCalibration:
    mean, spread, measured = (of[name] for of in (people.mean, people.spread, people.measured))
    floor, kind = spread_floor(spread), choose_score(mean, spread, measured)
    scores = (
        plain_scores(mean, measured)
        if kind == "plain"
        else scaled_scores(mean, spread, measured, floor)
    )
    squares = np.square(spread).mean()
    factor = math.sqrt(np.square(measured - mean).mean() / squares) if squares > 0 else None
    return RegionCalibration(
        score=kind,
        spread_floor=floor,
        q={str(level): _finite(bound(scores, level)) for level in LEVELS},
        residuals=sorted((measured - mean).tolist()),
        interval_scores={
            each: _finite(score) for each, score in left_out_scores(mean, spread, measured).items()
        },
        raw=[
            _record(coverage(level, *raw_interval(mean, spread, level), measured))
            for level in LEVELS
        ],
        left_out=[_record(_left_out(kind, mean, spread, measured, level)) for level in LEVELS],
        spread_factor=factor if len(people) >= FACTOR_PEOPLE else None,
    )


def _left_out(
    kind: Kind, mean: np.ndarray, spread: np.ndarray, measured: np.ndarray, level: float
) -> Coverage:
    half = left_out_half_widths(kind, mean, spread, measured, level)
    return coverage(level, mean - half, mean + half, measured)


def _record(of: Coverage) -> CoverageRecord:
    return CoverageRecord(**{**asdict(of), "width": _finite(of.width)})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
