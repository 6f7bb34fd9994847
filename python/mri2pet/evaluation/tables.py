"""The figures of an evaluation: one line a scan and method, and summarised."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mri2pet.evaluation.intervals import (
    FEWEST_FOR_BCA,
    MEAN,
    MEAN_ABSOLUTE_DIFFERENCE,
    PEARSON,
    RESAMPLES,
    Estimate,
    estimate,
)
from mri2pet.evaluation.methods import METHODS
from mri2pet.evaluation.metrics import DATA_RANGE_SUVR
from mri2pet.tables import write_tsv

COLUMNS = (
    "row",
    "subject",
    "diagnosis",
    "method",
    "mae",
    "ssim",
    "psnr",
    "cortical_suvr",
    "measured_cortical_suvr",
    "true_cortical_suvr",
)
_IMAGE_METRICS = ("mae", "ssim", "psnr")

RIVALS = {
    "cohort_mean": "cohort-mean PET",
    "cohort_mean_warped": "cohort-mean PET warped to the subject",
    "linear_map": "MRI mapped linearly to PET",
}
"""Trivial rivals and how tables call them."""


def write_metrics(path: Path, records: list[dict[str, Any]]) -> None:
    """`metrics.tsv`: one line per row of the cohort and method."""
    lines = [
        {**record, **figures, "method": method}
        for record in records
        for method, figures in record["methods"].items()
    ]
    write_tsv(path, COLUMNS, lines)


def summarise(records: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Every method's figures with bootstrap intervals by subject, as JSON takes them.

    The cortical SUVR of a prediction is compared with that of the measured PET, and, in a
    simulated cohort, its correlation with the value that the simulation used is given too.
    """
    subjects = [record["subject"] for record in records]
    truth = [record["true_cortical_suvr"] for record in records]
    methods: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        figures = [record["methods"][method] for record in records]
        predicted = [f["cortical_suvr"] for f in figures]
        measured = [record["measured_cortical_suvr"] for record in records]
        found = {
            name: estimate(MEAN, subjects, [f[name] for f in figures]) for name in _IMAGE_METRICS
        }
        found["cortical_suvr_r"] = estimate(PEARSON, subjects, predicted, measured)
        found["cortical_suvr_mae"] = estimate(
            MEAN_ABSOLUTE_DIFFERENCE, subjects, predicted, measured
        )
        if None not in truth:
            found["true_cortical_suvr_r"] = estimate(PEARSON, subjects, predicted, truth)
        methods[method] = {name: _plain(value) for name, value in found.items()}
    return {
        "settings": settings,
        "subjects": len(set(subjects)),
        "rows": len(records),
        "data_range_suvr": DATA_RANGE_SUVR,
        "interval": interval_note(len(set(subjects))),
        "seconds_per_row": mean_seconds(records),
        "methods": methods,
    }


def interval_note(people: int) -> str:
    """Kind, number and unit of the intervals of so many people."""
    if people < 2:
        return "nothing, since one person gives no interval"
    kind = "BCa" if people >= FEWEST_FOR_BCA else "percentile (fewer than 10 people)"
    return f"95 % interval, {kind}, {RESAMPLES:,} resamples of people"


def mean_seconds(records: list[dict[str, Any]]) -> float:
    """Mean sampling time of a row, s."""
    return sum(record["seconds"] for record in records) / len(records)


def _plain(value: Estimate) -> dict[str, Any]:
    return {
        k: None if v != v or v in (math.inf, -math.inf) else v for k, v in asdict(value).items()
    }
