"""Every place in the code that the page on the paper names is there."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

PLACE = re.compile(r"`([\w/]+\.(?:py|json))(?::([\w.]+))?`")


def named(repository: Path) -> list[tuple[str, str]]:
    return PLACE.findall((repository / "docs" / "paper.md").read_text())


def names_of(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What a module or a class defines, and what is defined in that."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node.body
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            leaves = [leaf for target in targets for leaf in ast.walk(target)]
            found |= {leaf.id: [] for leaf in leaves if isinstance(leaf, ast.Name)}
    return found


def exists(path: Path, name: str) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".json":
        tree = json.loads(path.read_text())
        for key in filter(None, name.split(".")):
            if not isinstance(tree, dict) or key not in tree:
                return False
            tree = tree[key]
        return True
    body = ast.parse(path.read_text()).body
    for part in filter(None, name.split(".")):
        inside = names_of(body)
        if part not in inside:
            return False
        body = inside[part]
    return True


def test_every_place_that_the_page_names_exists(repository: Path):
    places = named(repository)
    assert len(places) > 50
    package = repository / "python" / "mri2pet"
    missing = sorted(
        {f"{file}:{name}" for file, name in places if not exists(package / file, name)}
    )
    assert not missing


@pytest.mark.parametrize(
    ("file", "name", "there"),
    [
        ("cohort/cache.py", "CohortCache.pet_mean", True),
        ("cohort/cache.py", "CohortCache.colour", False),
        ("cohort/cache.py", "pet_mean", False),
        ("cohort/nowhere.py", "", False),
        ("presets/paper.json", "training.lr", True),
        ("presets/paper.json", "training.speed", False),
    ],
)
def test_the_check_tells_right_from_wrong(repository: Path, file: str, name: str, there: bool):
    assert exists(repository / "python" / "mri2pet" / file, name) is there
