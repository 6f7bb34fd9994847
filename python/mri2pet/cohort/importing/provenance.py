"""`sourcedata/import.json`: what an import was made of, with what, and what came of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mri2pet import __version__
from mri2pet.cohort.importing.convert import dcm2niix_program
from mri2pet.cohort.importing.decision import Plan, counts
from mri2pet.cohort.importing.options import ImportOptions, kept, sha256
from mri2pet.cohort.importing.sources import Sources
from mri2pet.errors import UsageError
from mri2pet.files import write_atomically


def write_provenance(
    path: Path,
    study: str,
    options: ImportOptions,
    sources: Sources,
    names: list[str],
    plan: Plan,
    tables: Iterable[Path],
    missing: Mapping[str, int],
) -> None:
    """Options, counts, versions and the SHA-256 of every table.

    Args:
        names: of the sources, as they may be written.
        missing: option → how many of its ids are of nobody.
    """
    tree = {
        "options": kept(study, options),
        "sources": names,
        "counts": counts(plan.decisions),
        "people": len({decision.subject for decision in plan.taken}),
        "withdrawn_people": plan.withdrawn
        or len({d.subject for d in plan.decisions if d.reason == "withdrawn"}),
        "ids_not_found": dict(missing),
        "notes": plan.notes,
        "versions": versions(),
        "tables": {
            shown: sha256(table) for table, shown in shown_tables(tables, options, sources).items()
        },
    }
    text = json.dumps(tree, indent=2, sort_keys=True)
    write_atomically(path, text.encode() + b"\n")


def versions() -> dict[str, str]:
    """Of mri2pet and of what reads and converts images, where it is installed."""
    found = {"mri2pet": __version__}
    for name in ("nibabel", "pydicom", "dcm2niix"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "dcm2niix" not in found and (told := _dcm2niix()):
        found["dcm2niix"] = told
    return found


def _dcm2niix() -> str:
    """Of a program on the search path, '' without one."""
    try:
        command = [dcm2niix_program(), "--version"]
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (UsageError, OSError, subprocess.TimeoutExpired):
        return ""
    said = re.search(r"v?(\d+\.\d+\.\d{6,8})", ran.stdout + ran.stderr)
    return said.group(1) if said else ""


def shown_tables(
    tables: Iterable[Path], options: ImportOptions, sources: Sources
) -> dict[Path, str]:
    """Table → its path as tables name it: below what the user named, each another.

    Where folders of the sources may not be told, a table of them goes by its name alone.
    """
    found: dict[Path, str] = {}
    for table in sorted(set(tables)):
        name = _shown(table, options, sources)
        same = sum(shown.partition("#")[0] == name for shown in found.values())
        found[table] = f"{name}#{same + 1}" if same else name
    return found


def _shown(table: Path, options: ImportOptions, sources: Sources) -> str:
    if options.tables is not None and options.tables in table.parents:
        below = table.relative_to(options.tables).as_posix()
        return f"{options.tables.resolve().name}/{below}"
    for number, place in enumerate(sources.paths):
        if place in table.parents and not options.private:
            return sources.shown(number, "", table.relative_to(place).as_posix())
    return table.name
