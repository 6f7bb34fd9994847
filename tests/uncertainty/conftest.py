"""The people of the reference file."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def wave(name: str, shape: tuple[int, ...], scale: float, offset: float, seed: int) -> np.ndarray:
    """The reference file's generator of what it does not store."""
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    values = (offset + scale * generator.standard_normal(shape)).astype(np.float32)
    return values.astype(np.float64)


@pytest.fixture(scope="session")
def reference(shared_reference: Path) -> dict[str, Any]:
    path = shared_reference / "evaluation_small.json"
    if not path.is_file():
        pytest.skip(f"no reference numbers in {path}")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def people(reference: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Samples [P, K] and measured values [P], SUVR."""
    given = reference["inputs"]
    count, samples, seed = given["people"], given["samples"], given["seed"]
    centre = wave("centre", (count,), 0.18, 1.25, seed)
    measured = centre + wave("truth_error", (count,), 0.12, 0.0, seed)
    return centre[:, None] + wave("draws", (count, samples), 0.05, 0.02, seed), measured
