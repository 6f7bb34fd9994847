"""A table in LaTeX, as narrow as the text of an article.

Intervals stand under their values and headings in several lines; columns that do not fit beside
each other go into further tables of the same rows.
"""

from __future__ import annotations

import textwrap
import unicodedata

from mri2pet.evaluation.layout import ARROWS, Column, Row, Table

PAGE_PT = 345.0
"""Width of the text of LaTeX's class article."""
_CHARACTER_PT = {**dict.fromkeys("[],. ()|:;'", 2.7), **dict.fromkeys("MW%m±−", 6.8)}
_OTHER_PT = 4.6  # in the bold of \scriptsize, as a digit; most letters are narrower
_GAP_PT = 6.0
_NAME, _HEADING = 26, 13  # characters a line

_ESCAPED = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "\N{NO-BREAK SPACE}": "~",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    '"': "''",
    "`": "{`}",
    "“": "``",
    "”": "''",
    "‘": "{`}",
    "’": "'",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    **{c: rf"\textsuperscript{{{n}}}" for c, n in zip("¹²³", "123", strict=True)},
    **{c: f"$_{n}$" for c, n in zip("₀₁₂", "012", strict=True)},
    "▲": r"$^{\uparrow}$",
    "▼": r"$^{\downarrow}$",
    "∞": r"$_\infty$",
    "°": r"$^{\circ}$",
    "½": r"$\frac12$",
    "¼": r"$\frac14$",
    "¾": r"$\frac34$",
    "−": "$-$",
    **{
        character: f"${command}$"
        for character, command in {
            "±": r"\pm",
            "×": r"\times",
            "÷": r"\div",
            "·": r"\cdot",
            "√": r"\surd",
            "≥": r"\geq",
            "≤": r"\leq",
            "≠": r"\neq",
            "≈": r"\approx",
            "↑": r"\uparrow",
            "↓": r"\downarrow",
            "→": r"\rightarrow",
            "α": r"\alpha",
            "β": r"\beta",
            "γ": r"\gamma",
            "δ": r"\delta",
            "ε": r"\epsilon",
            "θ": r"\theta",
            "λ": r"\lambda",
            "μ": r"\mu",
            "µ": r"\mu",
            "ρ": r"\rho",
            "σ": r"\sigma",
            "τ": r"\tau",
            "χ": r"\chi",
            "Δ": r"\Delta",
            "Σ": r"\Sigma",
        }.items()
    },
}
_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""Which pdfLaTeX sets in any font."""


def latex(table: Table) -> str:
    """`table` environments that need the package booktabs alone; notes are under the last."""
    bold, blocks = table.bold(), _blocks(table)
    lines: list[str] = []
    for number, columns in enumerate(blocks):
        title = table.title + (" (continued)" if number else "")
        lines += [
            r"\begin{table}",
            *([r"\addtocounter{table}{-1}"] if number else []),
            rf"\caption{{{escaped(title)}}}",
            r"\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}",
            r"\toprule",
            " & ".join(["", *(_stacked(_heading(c)) for c in columns)]) + r" \\",
            r"\midrule",
        ]
        for row in table.rows:
            if row.ruled:
                lines.append(r"\midrule")
            # A [ after a rule would be the rule's argument, and after a row that row's.
            cells = ["{}" + _stacked(_name(row), "l")]
            for column in columns:
                marked = (row.name, column.key) in bold
                cells.append(_stacked(_cell(table, row, column), bold=marked))
            lines += [" & ".join(cells) + r" \\", r"\addlinespace[2pt]"]
        lines += [r"\bottomrule", r"\end{tabular}"]
        if number + 1 == len(blocks):
            lines += [rf"\par\smallskip\footnotesize {escaped(note)}" for note in table.notes]
        lines.append(r"\end{table}")
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """As pdfLaTeX takes it: what it has no letter for is spelt, or named by its code point."""
    text = _spelt(text)
    # Two hyphens in a row would become a dash.
    return "".join(
        _ESCAPED.get(one, one) + ("{}" if one == after == "-" else "")
        for one, after in zip(text, text[1:] + " ", strict=True)
    )


def _spelt(text: str) -> str:
    """Of ASCII, `_LETTERS` and what `_ESCAPED` knows; all white space becomes a space."""
    return "".join(map(_spell, unicodedata.normalize("NFC", text)))


def _spell(character: str) -> str:
    if character in _ESCAPED or character in _LETTERS or "!" <= character <= "}":
        return character
    if character.isspace() or unicodedata.category(character)[0] in "CZ":
        return " "
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if plain and unicodedata.category(character)[0] == "L":
        return plain
    return f"U+{ord(character):04X}"


def _blocks(table: Table) -> list[list[Column]]:
    """The columns, as many a block as fit beside the names."""
    names = max((_width(_name(row)) for row in table.rows), default=0.0)
    blocks: list[list[Column]] = []
    left = 0.0
    for column in table.columns:
        texts = [_heading(column), *(_cell(table, row, column) for row in table.rows)]
        width = max(map(_width, texts)) + _GAP_PT
        if not blocks or width > left:
            blocks.append([])
            left = PAGE_PT - names
        blocks[-1].append(column)
        left -= width
    return blocks or [[]]


def _width(lines: list[str]) -> float:
    return max((sum(_CHARACTER_PT.get(c, _OTHER_PT) for c in line) for line in lines), default=0)


def _name(row: Row) -> list[str]:
    return textwrap.wrap(_spelt(row.name), _NAME) or [""]


def _heading(column: Column) -> list[str]:
    arrow = ARROWS[column.best]
    text = f"{column.heading}\N{NO-BREAK SPACE}{arrow}" if arrow else column.heading
    return textwrap.wrap(_spelt(text), _HEADING) or [""]


def _cell(table: Table, row: Row, column: Column) -> list[str]:
    """Value and stars, and the interval in a line of its own."""
    return [line.replace("-", "−") for line in table.cell(row, column).lines(column.digits)]


def _stacked(lines: list[str], side: str = "r", *, bold: bool = False) -> str:
    texts = [rf"\textbf{{{escaped(line)}}}" if bold else escaped(line) for line in lines]
    if len(texts) == 1:
        return texts[0]
    # Without the braces a line that begins with [ or * would be an argument of the one before.
    return rf"\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}" + r"\\{}".join(texts) + r"\end{tabular}"
