"""The tables of an evaluation: per subject, summarised, and in Markdown."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mri2pet.evaluation.bootstrap import (
    RESAMPLES,
    Estimate,
    estimate,
    mean,
    mean_absolute_difference,
    pearson,
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
_HEADINGS = {
    "mae": ("MAE (SUVR)", 3),
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR (dB)", 1),
    "cortical_suvr_r": ("cortical SUVR, r", 2),
    "cortical_suvr_mae": ("cortical SUVR, MAE", 3),
}


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
            name: estimate(mean, subjects, [f[name] for f in figures]) for name in _IMAGE_METRICS
        }
        found["cortical_suvr_r"] = estimate(pearson, subjects, predicted, measured)
        found["cortical_suvr_mae"] = estimate(
            mean_absolute_difference, subjects, predicted, measured
        )
        if None not in truth:
            found["true_cortical_suvr_r"] = estimate(pearson, subjects, predicted, truth)
        methods[method] = {name: _plain(value) for name, value in found.items()}
    return {
        "settings": settings,
        "subjects": len(set(subjects)),
        "rows": len(records),
        "data_range_suvr": DATA_RANGE_SUVR,
        "interval": f"95 %, percentile bootstrap over subjects, {RESAMPLES} resamples",
        "seconds_per_row": mean_seconds(records),
        "methods": methods,
    }


def mean_seconds(records: list[dict[str, Any]]) -> float:
    """Mean sampling time of a row, s."""
    return sum(record["seconds"] for record in records) / len(records)


def markdown_table(summary: dict[str, Any], samples: int) -> str:
    """The summary as a Markdown table with a line that says how to read it."""
    titles = {
        "one_sample": "one sample",
        "mean_of_samples": f"mean of {samples} samples",
        "cohort_mean": "cohort-mean PET",
        "cohort_mean_warped": "cohort-mean PET warped to the subject",
        "linear_map": "MRI mapped linearly to PET",
    }
    if samples == 1:
        del titles["mean_of_samples"]
    headings = ["", *(heading for heading, _ in _HEADINGS.values())]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for method, title in titles.items():
        cells = [
            _estimate(summary["methods"][method][name]).text(digits)
            for name, (_, digits) in _HEADINGS.items()
        ]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    lines += [
        "",
        f"{summary['rows']} scans of {summary['subjects']} subjects "
        f"({summary['settings']['split']} split), against the measured PET, inside the brain, "
        f"in 3D. PSNR and SSIM take a data range of {summary['data_range_suvr']} SUVR. "
        "In brackets: 95 % bootstrap interval over subjects.",
        "",
    ]
    return "\n".join(lines)


def _plain(value: Estimate) -> dict[str, float | None]:
    return {k: v if math.isfinite(v) else None for k, v in asdict(value).items()}


def _estimate(plain: dict[str, float | None]) -> Estimate:
    return Estimate(**{k: math.nan if v is None else v for k, v in plain.items()})
