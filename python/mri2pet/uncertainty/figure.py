"""The picture of an evaluation's uncertainty, of cortical SUVR."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.files import written_whole
from mri2pet.uncertainty.calibration import LEVEL, Calibration
from mri2pet.uncertainty.people import CORTEX, People
from mri2pet.uncertainty.scores import Coverage, raw_interval
from mri2pet.uncertainty.summary import RegionSummary, Summary

RAW, CALIBRATED = "#8a8f98", "#c8501e"


def draw_figure(
    path: Path, people: People, summary: Summary, calibration: Calibration | None
) -> None:
    """Three panels: ranks, coverage over nominal coverage, and each person's interval.

    Args:
        path: the PNG.
        calibration: as in `summary`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 4.4), dpi=110, layout="constrained")
    ranks, levels, persons = figure.subplots(1, 3)
    _ranks(ranks, summary.regions[CORTEX])
    _levels(levels, summary.regions[CORTEX])
    _persons(persons, people, calibration)
    with written_whole(path) as part:
        figure.savefig(part, format="png")


def _ranks(axis: Any, region: RegionSummary) -> None:
    count = len(region.ranks)
    axis.bar(range(count), region.ranks, color=RAW)
    axis.axhline(sum(region.ranks) / count, color="black", linewidth=1, linestyle="--")
    axis.set_xticks(range(count))
    axis.set_xlabel("samples below the measured value")
    axis.set_ylabel("people")
    axis.set_title("Ranks: flat is right, a U is too sure", fontsize=10)


def _levels(axis: Any, region: RegionSummary) -> None:
    axis.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    _shares(axis, region.raw, RAW, "raw: mean ± z · SD of samples", -0.006)
    if region.calibrated:
        _shares(axis, region.calibrated, CALIBRATED, "calibrated", 0.006)
    axis.set_xlim(0.4, 1)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("nominal coverage")
    axis.set_ylabel("share of people covered, 95 % Clopper–Pearson")
    axis.legend(fontsize=8, loc="upper left")
    axis.set_title("Coverage: on the line is right, below is too sure", fontsize=10)


def _shares(axis: Any, records: list[Coverage], colour: str, label: str, shift: float) -> None:
    shares = np.array([of.share for of in records])
    low, high = (np.array([getattr(of, end) for of in records]) for end in ("low", "high"))
    axis.errorbar(
        [of.level + shift for of in records],
        shares,
        yerr=[shares - low, high - shares],
        fmt="o",
        color=colour,
        markersize=5,
        capsize=3,
        label=label,
    )


def _persons(axis: Any, people: People, calibration: Calibration | None) -> None:
    mean, measured = people.mean[CORTEX], people.measured[CORTEX]
    if calibration is not None:
        half = np.array([calibration.half_width(CORTEX, s) for s in people.spread[CORTEX]])
        if math.isfinite(half.max()):
            axis.errorbar(
                measured, mean, yerr=half, fmt="none", color=CALIBRATED, elinewidth=5, alpha=0.35,
                label=f"calibrated {100 * LEVEL:g} % interval",
            )  # fmt: skip
    low, high = raw_interval(mean, people.spread[CORTEX], LEVEL)
    axis.errorbar(
        measured, mean, yerr=(high - low) / 2, fmt="o", color=RAW, ecolor="black", elinewidth=1,
        markersize=4, label=f"mean of samples, raw {100 * LEVEL:g} %",
    )  # fmt: skip
    ends = [min(measured.min(), mean.min()) - 0.05, max(measured.max(), mean.max()) + 0.05]
    axis.plot(ends, ends, color="black", linewidth=1, linestyle="--")
    axis.set_xlabel("measured cortical SUVR")
    axis.set_ylabel("synthetic cortical SUVR")
    axis.legend(fontsize=8, loc="upper left")
    axis.set_title("People: an interval holds where it meets the line", fontsize=10)
