"""Two small models, as they come out of a training, and the export of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri2pet.checkpoint import Model


@pytest.fixture(scope="session")
def model(small_concat_model: Model) -> Model:
    return small_concat_model


@pytest.fixture(scope="session")
def embedding_model(small_embedding_model: Model) -> Model:
    return small_embedding_model


@pytest.fixture(scope="session")
def export(small_export: Path) -> Path:
    return small_export
