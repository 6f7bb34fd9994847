"""All results of a BIDS derivative in one table and on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mri2pet import WARNING
from mri2pet.errors import InputError
from mri2pet.files import write_atomically
from mri2pet.synthesis.derivative import failure_path
from mri2pet.synthesis.outputs import ENTITIES, OutputPaths
from mri2pet.synthesis.sidecar import FORMAT
from mri2pet.tables import write_tsv

TABLE, DESCRIPTION, PAGE = (
    "group_measurements.tsv",
    "group_measurements.json",
    "group.html",
)
Sidecar = Mapping[str, Any]


def _cortical(key: str) -> Callable[[Sidecar], Any]:
    return lambda sidecar: sidecar["measurements"]["cortical_suvr"][key]


def _interval(key: str) -> Callable[[Sidecar], Any]:
    return lambda sidecar: (sidecar["measurements"]["cortical_suvr"]["interval"] or {}).get(key)


def _check(key: str) -> Callable[[Sidecar], Any]:
    return lambda sidecar: sidecar["checks"].get(key)


COLUMNS: dict[str, tuple[str, str, Callable[[Sidecar], Any]]] = {
    "cortical_suvr": ("cortical SUVR of the mean PET", "SUVR", _cortical("mean")),
    "sd_of_samples": (
        "standard deviation over the samples, no error bar",
        "SUVR",
        _cortical("sd_of_samples"),
    ),
    "low": ("lower end of the calibrated interval", "SUVR", _interval("low")),
    "high": ("upper end of the calibrated interval", "SUVR", _interval("high")),
    "level": ("share of people that such intervals hold", "", _interval("level")),
    "cerebellum_suvr": (
        "cerebellum of the mean PET, expected near 1",
        "SUVR",
        lambda sidecar: sidecar["measurements"]["cerebellum_suvr"]["mean"],
    ),
    "mask_volume_ml": ("volume of the brain mask", "mL", _check("mask_volume_ml")),
    "correlation_with_template": ("of the registered T1", "", _check("correlation_with_template")),
    "dice_with_template": ("of the brain mask", "", _check("dice_with_template")),
    "samples": ("volumes drawn", "", lambda sidecar: sidecar["settings"]["samples"]),
    "seconds": ("of work", "s", lambda sidecar: round(sum(sidecar["seconds"].values()), 1)),
    "model": ("name of the model", "", lambda sidecar: sidecar["model"]["name"]),
    "model_sha256": ("of its weights", "", lambda sidecar: sidecar["model"]["sha256"]),
    "warnings": ("what the program wants looked at", "", lambda s: " ".join(s["warnings"])),
}
"""Column → meaning, unit, and how it is read from a sidecar."""


@dataclass(frozen=True)
class GroupResult:
    """What `group` found: rows of the table, and stems without a result with the reason."""

    rows: list[dict[str, Any]]
    missing: dict[str, str]


def write_group(out: Path, expected: Iterable[str] = ()) -> GroupResult:
    """Writes `group_measurements.tsv`, its `.json` and `group.html` of all results in `out`.

    A person without a result, or with one that cannot be read, is listed; nothing fails for it.

    Args:
        out: folder of the derivative.
        expected: stems `sub-…[_ses-…]` of the people who should have results.

    Raises:
        InputError: there is no such folder.
    """
    if not out.is_dir():
        raise InputError(f"{out}: there is no such folder; run participant first")
    sidecars, missing = _read(out)
    for stem in expected:
        if stem not in sidecars and stem not in missing:
            missing[stem] = _reason(out, stem)
    rows = [_row(stem, sidecar) for stem, sidecar in sorted(sidecars.items())]
    columns = ("participant_id", "session_id", *COLUMNS)
    write_tsv(out / TABLE, columns, [{k: _cell(v) for k, v in row.items()} for row in rows])
    write_atomically(out / DESCRIPTION, (json.dumps(_described(), indent=2) + "\n").encode())
    found = GroupResult(rows, dict(sorted(missing.items())))
    write_atomically(out / PAGE, _page(found, columns).encode())
    return found


def _read(out: Path) -> tuple[dict[str, Sidecar], dict[str, str]]:
    """Stem → sidecar of what can be read; stem → reason of what cannot."""
    sidecars: dict[str, Sidecar] = {}
    unreadable: dict[str, str] = {}
    ending = f"_{ENTITIES}_pet.json"
    found = [*out.glob(f"sub-*/pet/*{ending}"), *out.glob(f"sub-*/ses-*/pet/*{ending}")]
    for path in sorted(found):
        stem = path.name.removesuffix(ending)
        try:
            sidecar = json.loads(path.read_text())
            _row(stem, sidecar)
            of_this_version = sidecar["format"] == FORMAT
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unreadable[stem] = "its sidecar cannot be read; remove it and run participant again"
            continue
        if not of_this_version:
            unreadable[stem] = "made by another version of mri2pet; run participant again"
        else:
            sidecars[stem] = sidecar
    return sidecars, unreadable


def _reason(out: Path, stem: str) -> str:
    try:
        return failure_path(out, stem).read_text().strip()
    except OSError:
        return "not done yet"


def _row(stem: str, sidecar: Sidecar) -> dict[str, Any]:
    participant, _, session = stem.partition("_")
    values = {name: read(sidecar) for name, (_, _, read) in COLUMNS.items()}
    return {"participant_id": participant, "session_id": session or None, **values}


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _described() -> dict[str, Any]:
    described = {
        name: {"Description": meaning, **({"Units": unit} if unit else {})}
        for name, (meaning, unit, _) in COLUMNS.items()
    }
    return {"participant_id": {"Description": "person"}, **described}


SHOWN = ("cortical_suvr", "sd_of_samples", "low", "high", "cerebellum_suvr", "seconds", "warnings")


def _page(found: GroupResult, columns: Sequence[str]) -> str:
    shown = [name for name in columns if name in SHOWN]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("person", *shown))
    body = "".join(_line(row, shown) for row in found.rows)
    missing = "".join(
        f"<li>{escape(stem)}: {escape(reason)}</li>" for stem, reason in found.missing.items()
    )
    absent = f"<h2>Without a result: {len(found.missing)}</h2><ul>{missing}</ul>" if missing else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Synthetic AV45 PET: {len(found.rows)} results</title><style>{STYLE}</style></head>"
        f"<body><h1>Synthetic AV45 PET: {len(found.rows)} results</h1>"
        f'<p class="warning">{escape(WARNING)}</p><div class="wide"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>{absent}</body></html>\n"
    )


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    ".warning{background:#fff3cd;padding:.6rem .8rem;border-radius:.4rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse}"
    "th,td{padding:.3rem .7rem;text-align:left;border-bottom:1px solid #ddd}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}"
)


def _line(row: Mapping[str, Any], shown: Sequence[str]) -> str:
    stem = "_".join(part for part in (row["participant_id"], row["session_id"]) if part)
    report = OutputPaths.in_dataset(Path(), stem).report.as_posix()
    cells = "".join(
        f'<td class="number">{_cell(row[name])}</td>'
        if isinstance(row[name], (int, float))
        else f"<td>{escape(_cell(row[name]))}</td>"
        for name in shown
    )
    return f'<tr><td><a href="{escape(report)}">{escape(stem)}</a></td>{cells}</tr>'
