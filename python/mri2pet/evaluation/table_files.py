"""A table's three files."""

from __future__ import annotations

from pathlib import Path

from mri2pet.errors import Mri2petError, UsageError
from mri2pet.evaluation.latex import latex
from mri2pet.evaluation.layout import Table, csv_text, markdown
from mri2pet.files import written_whole


def table_path(out: str | Path) -> Path:
    """What the files of a table are called, before their endings.

    Raises:
        UsageError: `out` is no name, as `.` or `/` are none.
    """
    path = Path(out)
    if path.name in ("", ".."):
        raise UsageError(f"--out {out}: is a folder; give a name for the table, such as table1")
    return path


def write_table(path: Path, table: Table) -> list[Path]:
    """Writes `path` with each of the endings .md, .tex and .csv; returns the three files.

    Raises:
        Mri2petError: one cannot be written.
    """
    written = []
    for ending, form in {"md": markdown, "tex": latex, "csv": csv_text}.items():
        target = path.with_name(f"{path.name}.{ending}")
        try:
            with written_whole(target) as part:
                part.write_text(form(table), encoding="utf-8")
        except OSError as error:
            raise Mri2petError(f"{target}: cannot be written ({error.strerror}).") from None
        written.append(target)
    return written
