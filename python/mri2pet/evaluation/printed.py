"""What the paper prints, as data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from mri2pet.evaluation.layout import Cell


@cache
def paper_table(name: str) -> dict[str, Any]:
    """`table1` to `table5`.

    The first three hold rows and stars, `table1` also how it names what a model was trained by; the
    others hold what they print, by line.
    """
    path = Path(__file__).with_name("paper_tables.json")
    return json.loads(path.read_text())[name]  # type: ignore[no-any-return]


def printed_cells(table: str, row: str) -> dict[str, Cell]:
    """The cells of a row of the paper, by `paper.` and the metric; none for a row of ours."""
    paper = paper_table(table)
    if row not in paper["rows"]:
        return {}
    stars = paper["stars"].get(row, [""] * len(paper["columns"]))
    return {
        f"paper.{key}": Cell(value, plus_minus=error, stars=star)
        for key, (value, error), star in zip(
            paper["columns"], paper["rows"][row], stars, strict=True
        )
    }
