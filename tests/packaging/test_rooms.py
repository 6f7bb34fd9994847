"""Each room of the package uses only rooms below it, in the order that CONTRIBUTING.md shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FREE = {"", "__main__", "imaging"}  # the package's own face, and a room of rooms without code


@pytest.fixture(scope="module")
def ranks(repository: Path) -> dict[str, int]:
    """Room or module → its line in the list."""
    text = (repository / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```rooms\n(.*?)```", text, re.DOTALL)
    return {name: i for i, line in enumerate(block.splitlines()) for name in line.split()}


def sources(repository: Path) -> Iterator[tuple[Path, str]]:
    """Every file of the package with its dotted name below mri2pet."""
    package = repository / "python" / "mri2pet"
    for folder, above in ((package, ""), (repository / "bench", "bench"),
                          (repository / "export", "export")):  # fmt: skip
        for path in sorted(folder.rglob("*.py")):
            parts = list(path.relative_to(folder).with_suffix("").parts)
            if above == "" and parts[0] in ("bench", "export"):
                continue  # a checkout that runs from its tree has links here
            parts = [above] * bool(above) + parts
            yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name below mri2pet) of every import in a file, those in functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}:{node.lineno}: a relative import")
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "mri2pet" and rest:
                yield node.lineno, rest


def room_of(name: str, ranks: dict[str, int]) -> str | None:
    parts = name.split(".")
    rooms = (".".join(parts[:depth]) for depth in (2, 1))
    return next((room for room in rooms if room in ranks), None)


def test_every_file_is_in_a_room(repository, ranks):
    homeless = [
        str(path) for path, name in sources(repository)
        if name not in FREE and room_of(name, ranks) is None
    ]  # fmt: skip
    assert not homeless, f"not in the list of rooms in CONTRIBUTING.md: {homeless}"


def test_every_room_of_the_list_is_there(repository, ranks):
    there = {room_of(name, ranks) for _, name in sources(repository)}
    assert not set(ranks) - there, "listed in CONTRIBUTING.md, but without a file"


def test_no_import_runs_back_up(repository, ranks):
    wrong, files = [], {name: path for path, name in sources(repository)}
    for path, name in sources(repository):
        own = room_of(name, ranks)
        for line, target in imports(path):
            room = room_of(target, ranks)
            if own is None or room is None or ranks[room] >= ranks[own]:
                continue
            used = files.get(target) or files.get(target.rpartition(".")[0]) or target
            wrong.append(f"{path}:{line} ({own}) uses {used} ({room})")
    assert not wrong, "imports that run back up:\n" + "\n".join(wrong)


def test_an_import_that_runs_up_is_seen(tmp_path, ranks):
    """The same reading on a file that does it, at its top and inside a function."""
    path = tmp_path / "lower.py"
    path.write_text("import mri2pet.cli.main\ndef f():\n    from mri2pet.training import run\n")
    rooms = [room_of(name, ranks) for _, name in imports(path)]
    assert rooms == ["cli", "training"]
    assert all(ranks[room] < ranks["nn"] for room in rooms)
