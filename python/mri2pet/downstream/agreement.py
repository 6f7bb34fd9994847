"""Does a regressor say the same of a drawn PET as of the measured one?

It was trained on measured PETs and reads both of every test scan; a seed's r is Pearson's between
its two predictions. What r is without anything of the person shows when every measured PET meets
the drawn PET of somebody else of the same sex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.downstream.scores import number_scores
from mri2pet.downstream.settings import MMSE_MIN
from mri2pet.downstream.statistics import SEEDS_DRAWN, two_ways
from mri2pet.evaluation.intervals import RESAMPLES, Estimate, draw_counts, percentile_limits
from mri2pet.files import written_whole
from mri2pet.randomness import random_of
from mri2pet.tables import write_tsv

PERMUTATIONS = 200
PAPER_R = 0.273  # of the last seed alone


@dataclass(frozen=True)
class Agreement:
    """Of n test scans.

    Attributes:
        r: mean over seeds, interval over people and seeds.
        of_others: r with drawn PETs of other people: mean, and 95 % of the permutations.
        measured, drawn: MMSE predicted, mean over seeds, [n].
    """

    rows: list[str]
    truth: list[float]
    measured: np.ndarray
    drawn: np.ndarray
    r: Estimate
    of_others: Estimate

    @property
    def note(self) -> str:
        """For under the table."""
        return (
            "MMSE predicted from the drawn against that from the measured PET, by the regressors "
            f"of Real PET: r {self.r.text(3)}; with drawn PETs of other people of the same sex "
            f"{self.of_others.text(3)} ({PERMUTATIONS} permutations). The paper's: {PAPER_R}, from "
            "its last seed alone."
        )


def agreement(records: Sequence[dict[str, Any]], sexes: Sequence[str | None]) -> Agreement:
    """From the results of `real-pet`, one of each seed.

    Args:
        records: with `predicted_of_drawn`.
        sexes: of each scan; None where unknown.
    """
    people = records[0]["subjects"]
    measured, drawn = (
        np.array([record[key] for record in records]) for key in ("predicted", "predicted_of_drawn")
    )
    of_seeds = [
        number_scores(one, other, people)["pearson"]
        for one, other in zip(measured, drawn, strict=True)
    ]
    counts = draw_counts(len(set(people)), RESAMPLES)
    picks = draw_counts(len(records), RESAMPLES, SEEDS_DRAWN) / len(records)
    once = np.ones((1, counts.shape[1]))
    r = two_ways(
        np.array([float(score(once)[0]) for score in of_seeds]),
        np.stack([score(counts) for score in of_seeds], axis=1),
        picks,
    )
    return Agreement(
        records[0]["rows"],
        records[0]["truth"],
        measured.mean(axis=0),
        drawn.mean(axis=0),
        r.estimate,
        _of_others(measured, drawn, people, sexes),
    )


def _of_others(
    measured: np.ndarray, drawn: np.ndarray, people: Sequence[str], sexes: Sequence[str | None]
) -> Estimate:
    found = []
    for number in range(PERMUTATIONS):
        other = others(people, sexes, number)
        kept = other >= 0
        if not kept.any():
            break
        each = [
            number_scores(one[kept], two[other[kept]], [people[i] for i in np.flatnonzero(kept)])
            for one, two in zip(measured, drawn, strict=True)
        ]
        everybody = np.ones((1, len({people[i] for i in np.flatnonzero(kept)})))
        found.append(np.mean([float(score["pearson"](everybody)[0]) for score in each]))
    values = np.array(found)
    values = values[np.isfinite(values)]
    if not values.size:
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(float(values.mean()), *percentile_limits(values), "permutations")


def others(people: Sequence[str], sexes: Sequence[str | None], number: int) -> np.ndarray:
    """For each scan the place of one of another person of the same sex, −1 where there is none."""
    found = np.full(len(people), -1)
    for sex in dict.fromkeys(sexes):
        places = [i for i, own in enumerate(sexes) if own == sex]
        order = random_of("others", number, sex).permutation(places)
        for place, scan in enumerate(order):
            following = np.roll(order, -place)[1:]
            other = next((i for i in following if people[i] != people[scan]), None)
            found[scan] = -1 if other is None else other
    return found


def write_agreement(path: Path, found: Agreement) -> list[Path]:
    """Writes a table and a scatter with the line of identity; returns both files."""
    table, figure = path.with_name(f"{path.name}.tsv"), path.with_name(f"{path.name}.png")
    columns = ("row", "mmse", "from_measured", "from_drawn")
    values = (found.rows, found.truth, found.measured, found.drawn)
    lines = [dict(zip(columns, line, strict=True)) for line in zip(*values, strict=True)]
    write_tsv(table, columns, [{**line, "mmse": float(line["mmse"])} for line in lines])
    _draw(figure, found)
    return [table, figure]


def _draw(path: Path, found: Agreement) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    both = np.concatenate([found.measured, found.drawn])
    low, high = min(both.min(), MMSE_MIN + 5), max(both.max(), 30)
    axis.plot([low, high], [low, high], color="0.6", linewidth=1)
    axis.scatter(found.measured, found.drawn, s=14, color="black")
    axis.set_xlabel("MMSE predicted from the measured PET")
    axis.set_ylabel("MMSE predicted from the drawn PET")
    axis.set_title(f"r = {found.r.text(2)}", fontsize=10)
    axis.set_aspect("equal")
    with written_whole(path) as part:
        figure.savefig(part, dpi=150, format="png")
