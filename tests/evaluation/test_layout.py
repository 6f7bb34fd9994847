"""One table in Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mri2pet.evaluation.latex import latex
from mri2pet.evaluation.layout import (
    Cell,
    Column,
    Row,
    Table,
    csv_text,
    markdown,
)
from mri2pet.evaluation.printed import paper_table
from mri2pet.evaluation.table_files import write_table


@pytest.fixture
def table() -> Table:
    return Table(
        "A & B",
        [Column("ssim", "SSIM", 3, "high"), Column("mae", "MAE", 2, "low"), Column("x", "X_1", 1)],
        [
            Row("ours", {"ssim": Cell(0.9, 0.8, 0.95), "mae": Cell(0.2), "x": Cell(math.nan)}),
            Row("near", {"ssim": Cell(0.85, stars="**", better=False), "mae": Cell(0.31)}),
            Row("far", {"ssim": Cell(0.5, plus_minus=0.01), "mae": Cell(0.1)}, ruled=True),
            Row("floor", {"ssim": Cell(0.99)}, ranked=False),
        ],
        ["100 % of 3 people."],
    )


def test_markdown(table):
    text = markdown(table)
    assert "|  | SSIM ↑ | MAE ↓ | X_1 |" in text
    assert "| ours | **0.900 [0.800, 0.950]** | 0.20 | – |" in text
    assert r"| near | **0.850 \*\*▼** | 0.31 | – |" in text
    assert "| far | 0.500 ± 0.010 | **0.10** | – |" in text
    assert "100 % of 3 people." in text


def test_bold_is_the_best_and_what_lies_in_its_interval(table):
    assert table.bold() == {("ours", "ssim"), ("near", "ssim"), ("far", "mae")}


def test_csv_holds_all_numbers_unrounded(table):
    table.rows[0].cells["ssim"] = Cell(1 / 3, 0.1, 0.7)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert len(rows) == 12
    assert float(rows[0]["value"]) == 1 / 3
    assert rows[2] == {**dict.fromkeys(rows[0], ""), "row": "ours", "column": "x", "bold": "false"}
    assert (rows[3]["stars"], rows[3]["better"]) == ("**", "false")


def compiled(text: str, folder: Path) -> str:
    """What LaTeX says of a page with tables, without a display's breaks of its lines."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + text
    (folder / "page.tex").write_text(page + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    environment = os.environ | {"max_print_line": "1000"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def test_latex_escapes_and_compiles(table, tmp_path):
    table.rows[0] = replace(table.rows[0], name="[0, 1]")  # no argument of the rule above it
    table.rows[2] = replace(table.rows[2], name="*[far]")
    table.notes.extend(
        [
            "p < 0.05, √(K + 1) ≥ 1, “μ²” ≠ ½\n\nof Müller, Kovačić and 李: --as ~ a^b --- c",
            "Alzheimer’s `x` \\ ¹¹C at 37 °C, Mu\u0308nchen, ⅓ ?` 5 µm \x07 α–β",
        ]
    )
    text = latex(table)
    assert r"A \& B" in text
    assert r"\midrule" in text.split("far")[0].rsplit("near", 1)[1]
    assert r"p $<$ 0.05, $\surd$(K + 1) $\geq$ 1, ``$\mu$\textsuperscript{2}'' $\neq$" in text
    assert "  of Müller, Kovacic and U+674E: -{}-as" in text
    assert "-{}-{}- c" in text
    assert r"Alzheimer's {`}x{`} \textbackslash{} \textsuperscript{1}\textsuperscript{1}C" in text
    assert r"37 $^{\circ}$C, München, U+2153 ?{`} 5 $\mu$m   $\alpha$--$\beta$" in text
    assert text.count(r"\begin{table}") == 1
    compiled(text, tmp_path)


def test_a_wide_table_in_latex_stays_on_the_page(tmp_path):
    """Columns that do not fit stand in further tables, each with the names."""
    number = Cell(-0.125, -0.25, 0.031, stars="***", better=True)
    columns = [Column(f"c{n}", f"cortical SUVR, error of {n}", 3, "low") for n in range(9)]
    names = ["ours", "cohort-mean PET warped to the subject", "李" * 18]
    cells = {column.key: number for column in columns}
    table = Table("Wide", columns, [Row(name, cells) for name in names], ["The end."])
    text = latex(table)
    blocks = text.split(r"\begin{table}")[1:]
    assert len(blocks) > 1
    assert ["(continued)" in block for block in blocks] == [False] + [True] * (len(blocks) - 1)
    assert ["The end." in block for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert sum(block.count("error") for block in blocks) == 9
    assert all(block.count("warped") == 1 for block in blocks)
    assert r"$-$0.125 ***$^{\uparrow}$" in text
    assert r"\\{}\textbf{[$-$0.250, 0.031]}" in text
    assert text.count(r"\addtocounter{table}{-1}") == len(blocks) - 1, "one table, one number"
    said = compiled(text, tmp_path)
    assert "Overfull" not in said, said
    assert "Underfull" not in said, said


def test_three_files_are_written(table, tmp_path):
    paths = write_table(tmp_path / "sub" / "v1.0", table)
    assert [p.name for p in paths] == ["v1.0.md", "v1.0.tex", "v1.0.csv"]
    assert paths[0].read_text() == markdown(table)


def test_the_paper_s_numbers():
    paper = paper_table("table1")
    assert len(paper["rows"]) == 11
    assert paper["columns"] == ["fid", "ssim", "psnr"]
    assert paper["rows"]["MRI2PET"] == [[61.735, 0.032], [0.857, 0.004], [24.771, 0.123]]
    assert min(paper["rows"], key=lambda name: paper["rows"][name][0][0]) == "w/o Loss"
    assert set(paper["names"].values()) == set(paper["rows"])
    from mri2pet.baselines import FILES
    from mri2pet.stages import ABLATIONS

    assert set(paper["names"]) == {*ABLATIONS, *FILES}
