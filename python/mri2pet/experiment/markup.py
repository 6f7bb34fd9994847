"""Markdown tables and sentences, as this package writes them, as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_BOLD = re.compile(r"\*\*([^\s*,](?:.*?[^\s*])?)\*\*")


def to_html(text: str, title: bool = True) -> str:
    """Headings, pipe tables, lists and paragraphs; `\\*` and `\\|` are the characters.

    Args:
        title: keep the first-level heading.
    """
    parts, lines = [], text.splitlines()
    while lines:
        kind = _kind(lines[0])
        taken = [lines.pop(0)]
        while lines and _kind(lines[0]) == kind and kind not in ("heading", ""):
            taken.append(lines.pop(0))
        if kind == "heading":
            level = len(taken[0]) - len(taken[0].lstrip("#"))
            if level > 1 or title:
                parts.append(f"<h3>{_inline(taken[0].lstrip('# '))}</h3>")
        elif kind == "table":
            parts.append(_table(taken))
        elif kind == "list":
            parts.append("<ul>" + "".join(f"<li>{_inline(t[2:])}</li>" for t in taken) + "</ul>")
        elif kind == "text":
            parts.append(f"<p>{_inline(' '.join(taken))}</p>")
    return "\n".join(parts)


def _kind(line: str) -> str:
    for start, kind in (("#", "heading"), ("|", "table"), ("- ", "list")):
        if line.startswith(start):
            return kind
    return "text" if line.strip() else ""


def _table(lines: Iterable[str]) -> str:
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
    head, _, *body = rows
    cells = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
    html = [f"<tr>{cells}</tr>"]
    html += ["<tr>" + "".join(f"<td>{_inline(c)}</td>" for c in row) + "</tr>" for row in body]
    return '<div class="wide"><table>' + "".join(html) + "</table></div>"


def _inline(text: str) -> str:
    kept = text.strip().replace("\\*", "\x01").replace("\\|", "\x02")
    bold = _BOLD.sub(r"<b>\1</b>", escape(kept, quote=False))
    return bold.replace("\x01", "*").replace("\x02", "|")
