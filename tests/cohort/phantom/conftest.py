"""A small simulated cohort, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri2pet.cohort.phantom import draw_people, make_cohort

PAIRS, UNPAIRED, SEED = 2, 1, 66


@pytest.fixture(scope="session")
def settings() -> dict[str, int]:
    return {"pairs": PAIRS, "unpaired": UNPAIRED, "seed": SEED}


@pytest.fixture(scope="session")
def people(settings):
    return draw_people(**settings)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory, settings) -> Path:
    """Three people, at least one with a dynamic PET and one with an oblique T1."""
    return make_cohort(tmp_path_factory.mktemp("phantom") / "study", **settings)
