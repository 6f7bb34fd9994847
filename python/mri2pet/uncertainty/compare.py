"""Ways to draw beside each other: spread, error, CRPS and coverage of the same people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.evaluation.compare import common_rows
from mri2pet.evaluation.intervals import MEAN, estimate
from mri2pet.evaluation.layout import Cell, Column, Row, Table
from mri2pet.evaluation.stored import Stored, read_evaluation
from mri2pet.evaluation.tables import interval_note, mean_seconds
from mri2pet.uncertainty.people import CORTEX, MIN_SAMPLES
from mri2pet.uncertainty.scores import (
    coverage,
    crps,
    raw_interval,
    spread_skill,
    spread_skill_of_moments,
)

LEVEL = 0.9
COLUMNS = [
    Column("sd_of_samples", "SD of samples", 3),
    Column("rmse", "RMSE of mean", 3, "low"),
    Column("spread_skill", "spread–skill", 2),
    Column("crps", "CRPS (fair)", 3, "low"),
    Column("crps_change", "CRPS less the first's", 3),
    Column("raw_coverage", "raw 90 % covers", 2),
    Column("raw_width", "mean width", 3),
    Column("voxels", "voxels, spread–skill", 2),
    Column("seconds", "seconds a scan", 1),
]


def spread_table(outs: Sequence[str | Path]) -> Table | None:
    """How sure and how right the samples of each evaluation are, in cortical SUVR.

    Args:
        outs: folders of `mri2pet evaluate`; the first is what the others' CRPS is compared with.
            Those of fewer than four samples are left out, and named in a note.

    Returns:
        None where none has four samples, or nobody has finite values in all.

    Raises:
        InputError: a folder without an evaluation.
        UsageError: evaluations of other cohorts, splits or people; no scan in common.
    """
    given = [read_evaluation(out) for out in outs]
    stored = [s for s in given if s.settings["samples"] >= MIN_SAMPLES]
    few = [_name(s) for s in given if s not in stored]
    if not stored:
        return None
    rows = _first_scans(stored)
    if not rows:
        return None
    people = [stored[0].records[row]["subject"] for row in rows]
    scores = [_crps(s, rows) for s in stored]
    lines = []
    for n, (s, own) in enumerate(zip(stored, scores, strict=True)):
        cells = {**_cells(s, rows), "crps": _mean(people, own)}
        if n:
            cells["crps_change"] = _mean(people, own - scores[0])
        lines.append(Row(_name(s), cells))
    count = len(people)
    notes = [
        f"Cortical SUVR of {count} people, one scan each, the first; in brackets: "
        f"{interval_note(count)}, and of a coverage the exact 95 % interval. CRPS is the error of "
        "the samples as a distribution: a way to draw is better where its CRPS is lower, with an "
        "interval of the difference that leaves out 0, and not where its spread is larger. "
        "Spread–skill: 1 is right, below 1 the samples are too sure; it takes the samples' plain "
        "mean. RMSE and raw coverage (mean ± z · SD of the samples) are of the mean PET, at the "
        "level that the model expects where it knows one.",
    ]
    if few:
        notes.append(f"Fewer than {MIN_SAMPLES} samples a scan: {'; '.join(few)}.")
    return Table("Ways to draw: how sure the samples are, and how right", COLUMNS, lines, notes)


def _first_scans(stored: list[Stored]) -> list[str]:
    """The first scan of each person that all evaluations have with finite values."""
    first: dict[str, str] = {}
    for row in sorted(common_rows(stored)[0]):
        values = [np.hstack(_of(s.records[row])) for s in stored]
        if all(bool(np.isfinite(of).all()) for of in values):
            first.setdefault(stored[0].records[row]["subject"], row)
    return list(first.values())


def _of(record: dict[str, Any]) -> tuple[np.ndarray, float, float]:
    """Cortical SUVR of every sample `[K]`, of their mean and of the measured PET."""
    return np.array(record["drawn"][CORTEX]), record["mean"][CORTEX], record["measured"][CORTEX]


def _arrays(stored: Stored, rows: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all samples `[P, K]`, of their means and of the measured PETs `[P]`."""
    drawn, mean, measured = zip(*(_of(stored.records[row]) for row in rows), strict=True)
    return np.stack(drawn), np.array(mean), np.array(measured)


def _crps(stored: Stored, rows: list[str]) -> np.ndarray:
    drawn, _, measured = _arrays(stored, rows)
    return crps(drawn, measured, fair=True)


def _mean(people: list[str], values: np.ndarray) -> Cell:
    found = estimate(MEAN, people, values.tolist())
    return Cell(found.value, found.low, found.high)


def _cells(stored: Stored, rows: list[str]) -> dict[str, Cell]:
    drawn, mean, measured = _arrays(stored, rows)
    spread = drawn.std(axis=1, ddof=1)
    covered = coverage(LEVEL, *raw_interval(mean, spread, LEVEL), measured)
    records = [stored.records[row] for row in rows]
    count, variance, error = (
        sum(record["voxels"][name] for record in records)
        for name in ("count", "variance", "squared_error")
    )
    voxels = spread_skill_of_moments(variance / count, error / count, drawn.shape[1])
    return {
        "sd_of_samples": Cell(float(spread.mean())),
        "rmse": Cell(float(np.sqrt(np.square(mean - measured).mean()))),
        "spread_skill": Cell(spread_skill(drawn, measured)),
        "raw_coverage": Cell(covered.share, covered.low, covered.high),
        "raw_width": Cell(covered.width),
        "voxels": Cell(voxels),
        "seconds": Cell(mean_seconds(records)),
    }


def _name(stored: Stored) -> str:
    """The folder and how it was drawn."""
    settings = stored.settings
    steps = "" if settings["sampler"] == "generator" else f", {settings['steps']} steps"
    models = f", {len(settings['members'])} models" if "members" in settings else ""
    drawn = f"{settings['sampler']}{steps}, {settings['samples']} samples{models}"
    return f"{stored.out.name}: {drawn}"
