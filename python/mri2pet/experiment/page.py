"""The page of an experiment: all tables and figures in one file that needs no network."""

from __future__ import annotations

import base64
import json
import platform
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from mri2pet import WARNING, __version__
from mri2pet.cohort.manifest import Manifest, load_manifest
from mri2pet.errors import Mri2petError
from mri2pet.experiment.config import CohortConfig, ExperimentConfig
from mri2pet.experiment.estimate import in_words
from mri2pet.experiment.limits import limits
from mri2pet.experiment.markup import to_html
from mri2pet.files import written_whole
from mri2pet.tables import read_table

PAGE, SOURCES = "index.html", "sources.zip"
QUESTION = (
    "Does a network that was pre-trained on PET-like MRIs draw better PETs from an MRI than one "
    "that was not, and than the other methods of the paper's comparison?"
)
SECTIONS = (
    ("Table 1: synthetic against measured PETs", ("table1",), ()),
    ("Figure 2: people at random", (), ("grid",)),
    ("Table 2: diagnosis", ("table2", "table2_binary"), ()),
    ("Table 3: MMSE", ("table3",), ("table3_real_against_drawn",)),
    ("Figure 3a: severe atrophy", (), ("cases",)),
    ("Figure 3b: two visits", (), ("longitudinal",)),
    ("Figure 4: decay", (), ("decay",)),
    ("Tables 4 and 5: people", ("table4", "table5*"), ()),
    ("How sure the numbers are", ("uncertainty",), ("uncertainty",)),
)
# The step of a table or figure, by the first of these with which its name begins.
OWNERS = (
    ("table1", "table1"),
    ("table2_binary", "downstream:binary"),
    ("table2", "downstream:diagnosis"),
    ("table3", "downstream:mmse"),
    ("table", "tables45"),
    ("uncertainty", "uncertainty"),
    *((kind, f"figure:{kind}") for kind in ("grid", "cases", "longitudinal", "decay")),
)
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem;color:#1b1f24}
h1{font-size:1.6rem}h2{margin-top:2.2rem;border-bottom:1px solid #d5d9de}h3{font-size:1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #e3e6ea;white-space:nowrap}
td:first-child,th:first-child{text-align:left}img{max-width:100%;height:auto}
.warning{background:#fff4e0;border-left:4px solid #e0912f;padding:.6rem 1rem}
p{max-width:60rem}code{font-size:.9em}
"""


def write_page(config: ExperimentConfig, done: Collection[str]) -> list[str]:
    """Writes `OUT/index.html` and `OUT/sources.zip` of what is there.

    Args:
        done: steps whose results were made with these settings; a table of another step, which
            was made with others and lies there still, is not shown.

    Raises:
        Mri2petError: they cannot be written.
    """
    out = config.out
    try:
        with written_whole(out / PAGE) as part:
            part.write_text(_html(config, done), encoding="utf-8")
        _zip(out, done)
    except OSError as error:
        raise Mri2petError(f"{out}: the page cannot be written ({error.strerror}).") from error
    return []


def _owner(path: Path) -> str:
    return next((step for name, step in OWNERS if path.name.startswith(name)), "")


def _is_current(path: Path, done: Collection[str]) -> bool:
    return _owner(path) in ("", *done)


def _not_current(out: Path, done: Collection[str]) -> dict[str, str]:
    """The steps whose tables and figures are there and not shown."""
    files = [*(out / "tables").glob("*.*"), *(out / "figures").glob("*.*")]
    owners = {_owner(path) for path in files if not _is_current(path, done)}
    return dict.fromkeys(sorted(owners), "what is there was made with other settings or steps")


def _html(config: ExperimentConfig, done: Collection[str]) -> str:
    markers = _markers(config.out)
    failures = {line["step"]: line["error"] for line in read_table(config.out / "failures.tsv")}
    left_out = {**_not_current(config.out, done), **failures}
    body = [
        f"<h1>{escape(config.name)}</h1>",
        f'<p class="warning">{escape(WARNING)}</p>',
        f"<h2>The question</h2><p>{QUESTION}</p>",
    ]
    for title, tables, figures in SECTIONS:
        content = [
            *_tables(config.out, tables, done),
            *_figures(config.out, figures, markers, done),
        ]
        if content:
            body.append(f"<h2>{title}</h2>" + "".join(content))
    body.append("<h2>What this does not show</h2>" + _list(_limits(config, left_out)))
    body.append("<h2>What ran</h2>" + _what_ran(config, markers, failures))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(config.name)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _tables(out: Path, names: Sequence[str], done: Collection[str]) -> Iterator[str]:
    for name in names:
        for path in sorted((out / "tables").glob(f"{name}.md")):
            if not _is_current(path, done):
                continue
            yield to_html(path.read_text(encoding="utf-8"), title="*" in name or name == "table4")
            forms = [path.with_suffix(s) for s in (".md", ".tex", ".csv", ".tsv")]
            links = [f'<a href="tables/{p.name}">{p.name}</a>' for p in forms if p.is_file()]
            yield f"<p>{' · '.join(links)}</p>"


def _figures(
    out: Path,
    names: Sequence[str],
    markers: dict[str, dict],  # type: ignore[type-arg]
    done: Collection[str],
) -> Iterator[str]:
    for name in names:
        path = out / "figures" / f"{name}.png"
        if not _is_current(path, done):
            continue
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            yield f'<p><img alt="{name}" src="data:image/png;base64,{data}"></p>'
        for note in markers.get(f"figure.{name}", {}).get("notes", []):
            yield f"<p>{escape(note)}</p>"


def _limits(config: ExperimentConfig, missing: dict[str, str]) -> list[str]:
    left_out = [f"{name} ({why.rstrip('.')})" for name, why in missing.items()]
    return limits(config, _manifest(config, config.cohort), _manifest(config, config.evaluated),
                  left_out)  # fmt: skip


def _manifest(config: ExperimentConfig, cohort: CohortConfig) -> Manifest | None:
    table = cohort.table
    if table is None:
        table = config.out / ("cohort.tsv" if cohort is config.cohort else "held_out.tsv")
    try:
        return load_manifest(table) if table.is_file() else None
    except Mri2petError:
        return None


def _what_ran(
    config: ExperimentConfig,
    markers: dict[str, dict],
    failures: dict[str, str],  # type: ignore[type-arg]
) -> str:
    import torch

    seconds = sum(marker["seconds"] for marker in markers.values())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    facts = [
        f"mri2pet {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        f"{in_words(seconds)} in all, {config.device} ({device}), {config.jobs} processes for "
        "cohorts",
    ]
    rows = ["| step | state | time | inputs |", "|---|---|---|---|"]
    for name, marker in markers.items():
        if name != "page":
            cells = [name.replace(".", ":", 1), marker["state"], in_words(marker["seconds"]),
                     marker["hash"][:12]]  # fmt: skip
            rows.append(f"| {' | '.join(cells)} |")
    notes = [note for name, marker in markers.items() for note in marker["notes"]
             if not name.startswith("figure.")]  # fmt: skip
    shown = json.dumps(_without_folders(config.model_dump(mode="json", exclude={"out"})), indent=1)
    return (
        _list(facts)
        + to_html("\n".join(rows))
        + _list(notes)
        + _list(f"{name}: {why}" for name, why in failures.items())
        + f'<details><summary>Settings</summary><pre>{escape(shown)}</pre></details><p><a href="'
        f'{SOURCES}">{SOURCES}</a>: tables, figures, settings and the marks of all steps</p>'
    )


def settings_shown(config: ExperimentConfig) -> dict[str, object]:
    """What the page tells of the settings and that changes a result."""
    return config.model_dump(mode="json", exclude={"out", "jobs", "ray", "device"})


def _without_folders(tree: object) -> object:
    """Paths by their last part alone."""
    if isinstance(tree, dict):
        return {key: _without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_folders(value) for value in tree]
    return Path(tree).name if isinstance(tree, str) and tree.startswith("/") else tree


def _markers(out: Path) -> dict[str, dict]:  # type: ignore[type-arg]
    paths = sorted((out / "steps").glob("*.json"), key=lambda path: path.name)
    return {path.stem: json.loads(path.read_text()) for path in paths}


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _zip(out: Path, done: Collection[str]) -> None:
    """Tables, figures, settings and marks: the same content gives the same bytes."""
    wanted = [
        *(path for path in sorted((out / "tables").glob("*.*")) if _is_current(path, done)),
        *(path for path in sorted((out / "figures").glob("*.*")) if _is_current(path, done)),
        *sorted((out / "steps").glob("*.json")),
        *(
            path
            for name in ("experiment.json", "failures.tsv", PAGE)
            if (path := out / name).is_file()
        ),
    ]
    with written_whole(out / SOURCES) as part, zipfile.ZipFile(part, "w") as archive:
        for path in wanted:
            if not path.name.startswith("."):
                entry = zipfile.ZipInfo(path.relative_to(out).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
