"""BIDS trees of empty images, and what a cohort takes of them."""

from __future__ import annotations

from pathlib import Path

from mri2pet.cohort.bids import find_pairs
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.passed_over import REASONS

from .conftest import empty_image


def put(root: Path, *names: str) -> None:
    for name in names:
        empty_image(root / name)


def taken(root: Path, *filters: str, **options) -> list[tuple[str, str | None]]:
    """Names of the files of every pair."""
    found = find_pairs(root, filters=Filters.of(filters), **options)
    return [(p.t1.path.name, p.pet.path.name if p.pet else None) for p in found.pairs]


def reasons(root: Path, *filters: str, **options) -> dict[str, str]:
    """File name → why it is left out."""
    found = find_pairs(root, filters=Filters.of(filters), **options)
    assert {image.reason for image in found.passed_over} <= set(REASONS)
    assert all(image.sentence and not image.file.startswith("/") for image in found.passed_over)
    assert not any(str(root) in image.sentence for image in found.passed_over)
    return {Path(image.file).name: image.reason for image in found.passed_over}
