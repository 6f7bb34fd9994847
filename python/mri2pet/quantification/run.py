"""`quantify`: PETs in, a long table of regions and its description out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.files import written_whole
from mri2pet.quantification.inputs import find_sources, read_json
from mri2pet.quantification.loading import OnStage, quantified
from mri2pet.quantification.settings import Quantification
from mri2pet.quantification.table import COLUMNS, Measured, description, table


@dataclass(frozen=True)
class Quantified:
    """What was measured, where it was written, and what could not be."""

    people: list[Measured]
    table: Path
    description: Path
    failures: dict[str, str]


def quantify(
    inputs: Sequence[Path | str],
    out: Path | str,
    what: Quantification,
    *,
    t1: Sequence[Path | str] = (),
    on_stage: OnStage | None = None,
) -> Quantified:
    """Measure the regions of PETs and write a table, and a JSON file beside it.

    Args:
        inputs: PET images of one or several frames, folders of `mri2pet preprocess` with a PET,
            or folders of `mri2pet synthesize`.
        out: the table, `*.tsv`.
        what: see `Quantification.of`.
        t1: of every PET image, in the same order; none where they lie in template space.
        on_stage: called with a stage's name and None when it starts, its seconds when it ends.

    Returns:
        Of several PETs those that failed stand in `failures` with the reason, and in the JSON.

    Raises:
        UsageError: options that make no sense, or a file of another kind has the name of the table
            or of its description.
        InputError: the only PET, or every one, cannot be used; nothing is written.
        Mri2petError: the table cannot be written.
    """
    out = Path(out)
    if out.suffix != ".tsv" or out.is_dir():
        raise UsageError(f"--out {out}: the table's name must end in .tsv")
    beside = out.with_suffix(".json")
    _refuse_others(out, beside)
    sources = find_sources([Path(path) for path in inputs], [Path(path) for path in t1])
    people: list[Measured] = []
    failures: dict[str, str] = {}
    for source in sources:
        try:
            people.append(quantified(source, what, on_stage))
        except Mri2petError as error:
            if len(sources) == 1:
                raise
            failures[source.path.name] = str(error).replace(str(source.path), source.path.name)
            first = error
    if not people:
        raise first
    try:
        with written_whole(out) as part:
            part.write_text(table(people, what), encoding="utf-8")
        with written_whole(beside) as part:
            part.write_text(description(people, what, failures), encoding="utf-8")
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from None
    return Quantified(people, out, beside, failures)


def _refuse_others(out: Path, beside: Path) -> None:
    """Keep files that this command has not written, such as the sidecar of the PET itself."""
    header, name = "\t".join(list(COLUMNS)[:4]), out
    try:
        foreign = out.exists() and not out.read_bytes().startswith(header.encode())
        if not foreign and beside.exists():
            name = beside
            foreign = not {"columns", "values", "composite"} <= read_json(beside).keys()
    except (OSError, InputError):
        foreign = True
    if foreign:
        raise UsageError(
            f"--out {out}: {name.name} is there and is none of this command's; choose another name"
        )
