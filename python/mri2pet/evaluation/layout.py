"""A table, as Markdown and as CSV with all numbers unrounded; `latex` has the third form."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from typing import Literal

DASH = "–"
ARROWS = {"high": "↑", "low": "↓", "": ""}
_BETTER, _WORSE = "▲", "▼"


@dataclass(frozen=True)
class Column:
    """A metric.

    Attributes:
        key: names it in CSV and in the cells of the rows.
        heading: what is printed; an arrow for `best` is added.
        digits: behind the point.
        best: "high", "low", or "" where no row is marked as the best.
    """

    key: str
    heading: str
    digits: int
    best: Literal["high", "low", ""] = ""


@dataclass(frozen=True)
class Cell:
    """A number with its interval, or with what the authors print behind ±.

    Attributes:
        stars: of the test against the first row.
        better: whether the cell's row is the better of the two; None without stars, and with
            those that the paper prints.
        digits: behind the point, where the column's do not fit; None for the column's.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    plus_minus: float = math.nan
    stars: str = ""
    better: bool | None = None
    digits: int | None = None

    def text(self, digits: int) -> str:
        """`0.123 [0.110, 0.136] **▼`, `0.123 ± 0.002`, or a dash for NaN."""
        value, interval, stars = self._parts(digits)
        return " ".join(filter(None, (value, interval, stars)))

    def lines(self, digits: int) -> list[str]:
        """`0.123 **▼` and `[0.110, 0.136]`, for narrow columns."""
        value, interval, stars = self._parts(digits)
        return list(filter(None, (" ".join(filter(None, (value, stars))), interval)))

    def _parts(self, digits: int) -> tuple[str, str, str]:
        """Value with ±, interval, stars; '' for what there is not."""
        if not math.isfinite(self.value):
            return DASH, "", ""
        digits = digits if self.digits is None else self.digits
        value, interval, stars = f"{self.value:.{digits}f}", "", self.stars
        if math.isfinite(self.plus_minus):
            value += f" ± {self.plus_minus:.{digits}f}"
        elif math.isfinite(self.low) and math.isfinite(self.high):
            interval = f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"
        if stars and self.better is not None:
            stars += _BETTER if self.better else _WORSE
        return value, interval, stars


@dataclass(frozen=True)
class Row:
    """A method.

    Attributes:
        cells: by the key of the column; one that is missing is a dash.
        ranked: whether it can be the best of a column.
        ruled: a rule stands above it.
    """

    name: str
    cells: dict[str, Cell]
    ranked: bool = True
    ruled: bool = False


@dataclass(frozen=True)
class Table:
    """Rows and columns, and the sentences under them."""

    title: str
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def cell(self, row: Row, column: Column) -> Cell:
        """The cell, or one that prints as a dash."""
        return row.cells.get(column.key, Cell(math.nan))

    def bold(self) -> set[tuple[str, str]]:
        """(row, column key) of the best of each column and of all that lie in its interval."""
        found = set()
        for column in self.columns:
            ranked = [
                (cell.value, cell, row)
                for row in self.rows
                if row.ranked and math.isfinite((cell := self.cell(row, column)).value)
            ]
            if not column.best or len(ranked) < 2:
                continue
            best = (max if column.best == "high" else min)(ranked, key=lambda item: item[0])[1]
            found |= {
                (row.name, column.key)
                for value, _, row in ranked
                if value == best.value or best.low <= value <= best.high
            }
        return found


def markdown(table: Table) -> str:
    """With bold for the best, and the notes below."""
    bold = table.bold()
    headings = ["", *(f"{c.heading} {ARROWS[c.best]}".strip() for c in table.columns)]
    lines = [f"# {table.title}", "", _line(headings), "|---" * len(headings) + "|"]
    for row in table.rows:
        cells = [row.name.replace("|", "\\|")]
        for column in table.columns:
            text = table.cell(row, column).text(column.digits).replace("*", "\\*")
            cells.append(f"**{text}**" if (row.name, column.key) in bold else text)
        lines.append(_line(cells))
    return "\n".join([*lines, "", *(line for note in table.notes for line in (note, ""))])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_CSV_COLUMNS = ("row", "column", "value", "low", "high", "plus_minus", "stars", "better", "bold")


def csv_text(table: Table) -> str:
    """One line a row and metric; an empty cell for what there is not."""
    bold, out = table.bold(), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in table.rows:
        for column in table.columns:
            cell = table.cell(row, column)
            numbers = [cell.value, cell.low, cell.high, cell.plus_minus]
            better = "" if cell.better is None else str(cell.better).lower()
            marked = str((row.name, column.key) in bold).lower()
            texts = [repr(float(n)) if math.isfinite(n) else "" for n in numbers]
            writer.writerow([row.name, column.key, *texts, cell.stars, better, marked])
    return out.getvalue()
