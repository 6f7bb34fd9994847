"""Known answers and made-up inputs of the downstream tasks."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def random_of(name: str, seed: int) -> np.random.RandomState:
    """The reference file's generator of what it does not store."""
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)


def wave(name, shape, scale, offset=0.0, seed=0):
    values = random_of(name, seed).standard_normal(shape) * scale + offset
    return values.astype(np.float32)


@pytest.fixture(scope="session")
def reference(shared_reference: Path) -> dict[str, Any]:
    path = shared_reference / "evaluation_small.json"
    if not path.is_file():
        pytest.skip(f"no known answers in {path}")
    return json.loads(path.read_text())
