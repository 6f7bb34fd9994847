"""Stars as in the paper: Welch's test on what is printed, against the best external baseline.

It is not a valid test: ± is not the standard error of the mean over people, 100 is the number of
resamples and not of people, and the baseline is chosen by the figures that are tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from mri2pet.evaluation.hypothesis import stars, welch
from mri2pet.evaluation.layout import Cell
from mri2pet.evaluation.printed import paper_table
from mri2pet.evaluation.stored import StoredMethod

#: Column as in the paper → whether high is better.
HIGH_IS_BETTER = {
    "as_paper.fid": False,
    "as_paper.ssim_volume": True,
    "as_paper.ssim_slices": True,
    "as_paper.psnr": True,
}


@dataclass(frozen=True)
class PaperTest:
    """The first method against the best external baseline in one column.

    `p` is two-tailed; NaN where both ± are 0.
    """

    metric: str
    first: str
    baseline: str
    difference: float
    t: float
    df: float
    p: float

    @property
    def stars(self) -> str:
        """Of p."""
        return stars(self.p)

    @property
    def first_is_better(self) -> bool:
        """Whether the first method has the better value."""
        return (self.difference > 0) is HIGH_IS_BETTER[self.metric]

    def row(self) -> dict[str, Any]:
        """The line of tests.tsv, without an interval and an adjusted p."""
        return {
            "metric": self.metric,
            "first": self.first,
            "second": self.baseline,
            "difference": self.difference,
            "t": self.t,
            "df": self.df,
            "p": self.p,
            "stars": self.stars or None,
            "better": self.first if self.first_is_better else self.baseline,
        }


def paper_tests(cells: dict[str, dict[str, Cell]], methods: list[StoredMethod]) -> list[PaperTest]:
    """The first method's one sample in each column that the best external baseline has too.

    Args:
        cells: name of a method → key of a column → cell.
        methods: the first is tested; external are those whose models the paper calls so.
    """
    paper, (first, *others) = paper_table("table1"), methods
    external = [m.name for m in others if paper["names"].get(m.ablation) in paper["external"]]
    found = []
    for metric, high in HIGH_IS_BETTER.items():
        own = cells[first.name].get(metric)
        theirs = {name: cells[name][metric] for name in external if metric in cells[name]}
        theirs = {name: cell for name, cell in theirs.items() if math.isfinite(cell.value)}
        if own is None or not math.isfinite(own.value) or not theirs:
            continue
        best = (max if high else min)(theirs, key=lambda name: theirs[name].value)
        other, count = theirs[best], paper["values"]
        test = welch(own.value, own.plus_minus, count, other.value, other.plus_minus, count)
        gap = own.value - other.value
        found.append(PaperTest(metric, first.name, best, gap, test.t, test.df, test.p))
    return found


def star_as_paper(cells: dict[str, dict[str, Cell]], tests: list[PaperTest]) -> None:
    """Puts the stars into the cells of the first method, as the paper does."""
    for test in tests:
        if test.stars:
            row = cells[test.first]
            row[test.metric] = replace(
                row[test.metric], stars=test.stars, better=test.first_is_better
            )


def paper_stars_note(tests: list[PaperTest]) -> str:
    """The sentence under the table."""
    baselines = ", ".join(dict.fromkeys(test.baseline for test in tests))
    return (
        "Stars in the columns as in the paper: Welch's t-test of the printed mean and ±, n = "
        f"{paper_table('table1')['values']}, against the best external baseline of the column "
        f"({baselines}); as in the paper, not a valid test."
    )
