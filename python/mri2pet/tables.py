"""Tables as spreadsheets and archives write them: one reader, one writer."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError
from mri2pet.files import missing_target, written_whole

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")
_POINTERS = ("version https://git-lfs", "/annex/objects/")
_HEADER_BYTES = 1 << 16
_AGAIN = "save it again as text, tab-separated"


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table as dictionaries of stripped text; an absent table has no rows.

    Encoding: UTF-8, UTF-16 and UTF-32 by their mark; UTF-16 without one where the zero bytes leave
    no doubt; UTF-8; else Windows-1252. Cells are separated by the tab, comma or semicolon that
    the header has, and may be quoted. Lines end in LF, CRLF or CR. `n/a` reads as ''; a short row
    is filled up with ''. Columns without a name and empty lines are left out.

    Raises:
        InputError: the file is no text or cannot be read, names a column twice, has a row with
            more cells than the header, or a quote that is not closed.
    """
    if missing := missing_target(path):
        raise InputError(missing)
    if not path.exists():
        return []
    try:
        text = _text(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file.") from None
    lines = _lines(path, text)
    if not lines:
        return []
    columns = [cell.strip() for cell in lines[0][1]]
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise InputError(f"{path}: names the column {twice[0]!r} twice; keep one of them.")
    rows = []
    for number_of_line, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise InputError(
                f"{path}: line {number_of_line} has {len(cells)} cells, the header has "
                f"{len(columns)}; correct the line."
            )
        filled = [*cells, *[""] * (len(columns) - len(cells))]
        rows.append({c: _cell_read(v) for c, v in zip(columns, filled, strict=False) if c})
    return rows


def read_header(path: Path) -> list[str]:
    """The names of a table's columns, of which only the beginning is read.

    Raises:
        InputError: as `read_table`.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(_HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file.") from None
    lines = _lines(path, _text(path, begin).lstrip().partition("\n")[0] + "\n")
    return [cell.strip() for cell in lines[0][1]] if lines else []


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes what `tsv_text` gives, whole or not at all."""
    with written_whole(path) as part:
        part.write_bytes(tsv_text(columns, rows).encode())


def tsv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows in the given column order; None is written as `n/a`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell_written(row.get(column)) for column in columns])
    return text.getvalue()


def number(text: str | None) -> float | None:
    """A table cell as a number, or None when it holds no finite one.

    A comma is a decimal comma, but not before three digits, where it may part thousands.
    """
    if not text:
        return None
    if re.fullmatch(r"[-+]?\d+,(\d{1,2}|\d{4,})", text):
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _text(path: Path, content: bytes) -> str:
    """The file's characters, with LF at the ends of its lines.

    Raises:
        InputError: the bytes are no text.
    """
    text = decoded(path, content).lstrip("\ufeff").rstrip("\x00\x1a")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    head = text[:200].lstrip()
    if head.startswith(_POINTERS):
        raise InputError(
            f"{path}: stands for a table whose content is not here; "
            "fetch it (git lfs pull, or datalad get)."
        )
    if content.startswith(b"PK"):
        raise InputError(f"{path}: is a spreadsheet or an archive, not a text table; {_AGAIN}.")
    if re.match(r"<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise InputError(f"{path}: is a web page or XML, not a table; {_AGAIN}.")
    if _NO_TEXT.search(text):
        raise InputError(f"{path}: is not text (it holds binary data); {_AGAIN}.")
    return text


def decoded(path: Path, content: bytes) -> str:
    """The text of a file whose encoding nobody names, as `read_table` says; the mark is kept.

    Raises:
        InputError: the mark at its beginning is of another encoding than the rest.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError:
                raise InputError(
                    f"{path}: begins as {encoding.upper()} and goes on as something else; {_AGAIN}."
                ) from None
    if unmarked := _utf16_without_a_mark(content):
        return content.decode(unmarked)
    for encoding in ("utf-8", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _utf16_without_a_mark(content: bytes) -> str | None:
    """The encoding if one byte of every pair is nearly always zero and the other never is."""
    if not content or len(content) % 2:
        return None
    pairs = len(content) // 2
    low, high = content[0::2].count(0), content[1::2].count(0)
    encoding = {(True, False): "utf-16-be", (False, True): "utf-16-le"}.get((low > 0, high > 0))
    if encoding is None or max(low, high) < 0.8 * pairs:
        return None
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return None
    return encoding


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """The lines that hold anything: (number of the line in the file, its cells)."""
    begin = 1
    named = re.match(r'"?sep=([\t,;])"?[\t,; ]*\n', text, re.IGNORECASE)  # as Excel writes it
    if named:
        text, begin = text[named.end() :], 2
    blank = re.match(r"\s*\n", text)
    if blank:
        begin += text[: blank.end()].count("\n")
        text = text[blank.end() :]
    separator = named.group(1) if named else _separator(text)
    try:
        return _cells(text, separator, begin, csv.QUOTE_MINIMAL)
    except csv.Error as error:
        # BIDS tables know no quoting: a lone quote is a character like any other there.
        if separator == "\t":
            return _cells(text, separator, begin, csv.QUOTE_NONE)
        raise InputError(
            f"{path}: is no table that can be read ({error}), as when a quote is not closed; "
            f"{_AGAIN}."
        ) from None


def _cells(text: str, separator: str, begin: int, quoting: Any) -> list[tuple[int, list[str]]]:
    found = []
    reader = csv.reader(
        io.StringIO(text, newline="\n"), delimiter=separator, quoting=quoting, strict=True
    )
    start = 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            found.append((begin + start, cells))
        start = reader.line_num
    return found


def _separator(text: str) -> str:
    """A tab if the header has one outside quotes; else what of `;` and `,` parts more names.

    Where both part as many, the one by which more of the first rows have the header's length.
    """
    header = re.match(r'(?:"[^"]*"|[^"\n])*', text)
    bare = re.sub(r'"[^"]*"', "", header.group() if header else "")
    if "\t" in bare or not re.search("[;,]", bare):
        return "\t"
    semicolons, commas = bare.count(";"), bare.count(",")
    if semicolons != commas:
        return ";" if semicolons > commas else ","
    first = text.split("\n")[1:50]

    def fitting(separator: str) -> int:
        return sum(line.count(separator) == semicolons for line in first)

    return ";" if fitting(";") >= fitting(",") else ","


def _cell_read(cell: str) -> str:
    return "" if cell.strip().lower() == "n/a" else cell.strip()


def _cell_written(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\t", " ").replace("\n", " ")
