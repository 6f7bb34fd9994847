"""A made-up cohort and an experiment on it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """The module that makes the cohort; tests and killed processes share it."""
    pytest.importorskip("nibabel")
    path = Path(__file__).with_name("made_up.py")
    spec = importlib.util.spec_from_file_location("experiment_made_up", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cohort(made_up: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its BIDS folder, never to be changed."""
    return made_up.write_cohort(tmp_path_factory.mktemp("made-up") / "cohort")


@pytest.fixture
def write(made_up: ModuleType, cohort: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the file of an experiment, some keys changed."""

    def written(**changed: Any) -> Path:
        path = tmp_path / "experiment.json"
        out = changed.pop("out", tmp_path / "out")
        path.write_text(json.dumps(made_up.configuration(cohort, out, **changed)))
        return path

    return written
