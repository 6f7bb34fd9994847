"""A summary as a page of Markdown and as a long table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mri2pet.quantification.status import LITTLE
from mri2pet.uncertainty.people import CORTEX
from mri2pet.uncertainty.scores import Coverage
from mri2pet.uncertainty.summary import RegionSummary, Status, Summary

COLUMNS = ("region", "quantity", "level", "value", "low", "high", "people")
SHOWN_LEVEL = 0.9
HOW_TO_READ = (
    "Spread–skill is √(mean s²)·√((K + 1)/K) over the RMSE of the samples' plain mean: 1 is right, "
    "below 1 the samples are too sure. All else that is called mean is the mean PET, at the level "
    "that the model expects where it knows one. CRPS (fair, SUVR) is the mean error of a single "
    "guess and less the more the samples know of their own error; skill compares it with giving "
    "everybody the training people's values: above 0 is better than that. Ranks: p of the χ² test "
    "that the measured value is as often in each place among the samples; small means that it lies "
    "outside them too often. Raw is mean ± z · SD of the samples; in brackets stands the exact "
    "95 % interval (Clopper–Pearson) of the share. One scan a person, the first."
)


def markdown(summary: Summary, note: str) -> str:
    """The page; `note` says which calibration was used, or why none."""
    cortex = summary.regions[CORTEX]
    parts = [
        "# How sure the samples are, and how right",
        f"{summary.people} people, {summary.samples} samples each. {note}",
        "## Cortical SUVR: how often an interval holds the measured value",
        _levels(cortex),
        f"Rank of the measured value among the samples, lowest first: "
        f"{' '.join(map(str, cortex.ranks))} (χ², p = {cortex.ranks_p:.2g}).",
        "## By region",
        _regions(summary),
        f"Voxels of the brain: spread–skill {_number(summary.voxels, 2)}.",
    ]
    if summary.status is not None:
        name = summary.status.threshold.name
        parts += [f"## Amyloid: P(measured SUVR > {name})", _status(summary.status)]
    return "\n\n".join([*parts, HOW_TO_READ]) + "\n"


def rows(summary: Summary) -> Iterator[dict[str, Any]]:
    """One line a region and quantity; `level` of intervals alone."""
    for name, region in summary.regions.items():
        for quantity in (
            "sd_of_samples",
            "rmse",
            "mae",
            "spread_skill",
            "crps",
            "crps_fair",
            "crps_climatology",
            "skill",
            "ranks_p",
        ):
            yield _row(summary, name, quantity, getattr(region, quantity))
        for rank, count in enumerate(region.ranks):
            yield _row(summary, name, f"rank_{rank}", count)
        for kind in ("raw", "calibrated"):
            for of in getattr(region, kind):
                share = _row(summary, name, f"{kind}_coverage", of.share)
                yield share | {"level": of.level, "low": of.low, "high": of.high}
                yield _row(summary, name, f"{kind}_width", of.width) | {"level": of.level}
    yield _row(summary, "voxels", "spread_skill", summary.voxels)
    if summary.status is not None:
        yield from _status_rows(summary, summary.status)


def _status_rows(summary: Summary, status: Status) -> Iterator[dict[str, Any]]:
    region, people = status.composite, {"people": status.scores["people"]}
    for quantity in ("above", "brier", "auroc"):
        yield _row(summary, region, f"status_{quantity}", status.scores[quantity]) | people
    for place, of in enumerate(status.scores["reliability"]):
        for quantity, value in of.items():
            yield _row(summary, region, f"status_bin_{place}_{quantity}", value) | people


def _row(summary: Summary, region: str, quantity: str, value: float) -> dict[str, Any]:
    finite = value if math.isfinite(value) else None
    return {"region": region, "quantity": quantity, "value": finite, "people": summary.people}


def _levels(region: RegionSummary) -> str:
    heading = ["nominal", "raw covers", "mean width"]
    lines = [[f"{100 * of.level:g} %", *_cells(of)] for of in region.raw]
    if region.calibrated:
        heading += ["calibrated covers", "mean width"]
        for line, of in zip(lines, region.calibrated, strict=True):
            line += _cells(of)
    return _table(heading, lines)


def _regions(summary: Summary) -> str:
    heading = ["region", "SD of samples", "RMSE of mean", "spread–skill", "CRPS", "\\|m − y\\|",
               "CRPS of climatology", "skill", "ranks, p", "raw 90 % covers"]  # fmt: skip
    calibrated = bool(summary.regions[CORTEX].calibrated)
    if calibrated:
        heading += ["calibrated 90 % covers", "mean width"]
    lines = []
    for name, of in summary.regions.items():
        line = [
            name.replace("_", " "),
            *(_number(value, 3) for value in (of.sd_of_samples, of.rmse)),
            _number(of.spread_skill, 2),
            *(_number(value, 3) for value in (of.crps_fair, of.mae, of.crps_climatology)),
            _number(of.skill, 2),
            f"{of.ranks_p:.2g}",
            _cells(_at(of.raw))[0],
        ]
        lines.append(line + (_cells(_at(of.calibrated)) if calibrated else []))
    return _table(heading, lines)


def _status(status: Status) -> str:
    scores = status.scores
    lines = [
        [f"{place / 5:.1f} to {(place + 1) / 5:.1f}", str(of["people"]),
         _number(of["mean_p"], 2), _number(of["share_above"], 2)]
        for place, of in enumerate(scores["reliability"])
    ]  # fmt: skip
    return (
        f"{scores['above']} of {scores['people']} people have a measured SUVR above "
        f"{status.threshold.suvr:g} in the composite {status.composite}. Of P, the "
        f"{status.threshold.question}: it is from {status.source}. {LITTLE} "
        f"Brier score {scores['brier']:.3f}, AUROC {_number(scores['auroc'], 2)}.\n\n"
        + _table(["P", "people", "mean P", "share above"], lines)
    )


def _at(records: list[Coverage]) -> Coverage:
    return next(of for of in records if of.level == SHOWN_LEVEL)


def _cells(of: Coverage) -> list[str]:
    width = f"{of.width:.3f}" if math.isfinite(of.width) else "infinite"
    return [f"{of.hits} of {of.of} [{of.low:.2f}, {of.high:.2f}]", width]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _table(heading: list[str], lines: list[list[str]]) -> str:
    rule = "|---" * len(heading) + "|"
    return "\n".join([_line(heading), rule, *map(_line, lines)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
