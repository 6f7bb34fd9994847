"""The developers' tools, which are no package, and what the comparisons of methods are told."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def load_tool(repository: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a tool anew by its name; it finds the others beside it, as when it is run."""
    folder = repository / "tools"
    names = [path.stem for path in folder.glob("*.py")]

    def forget() -> None:
        for name in names:
            sys.modules.pop(name, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget()
        yield importlib.import_module
        forget()


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """What the user tells `run_ablations.py` or `run_table1.py`."""
    return argparse.Namespace(
        out=tmp_path,
        volumes=40,
        pretrain_volumes=20,
        pairs=60,
        unpaired=150,
        test_pairs=20,
        random_vgg=False,
        vgg_weights=tmp_path / "vgg.safetensors",
        style_steps=5,
        style_weight="auto",
        samples=4,
        steps=25,
        limit=None,
        jobs=1,
        device="cpu",
        set=[],
        as_paper=True,
        inception_weights=None,
    )
