"""The developers' tools, which are no package."""

from __future__ import annotations

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
