"""Distances between features of another network, given as two files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mri2pet.errors import InputError
from mri2pet.evaluation.distance_rows import People, distances_of
from mri2pet.evaluation.layout import Row, Table
from mri2pet.evaluation.table1 import DISTANCES, distance_cells
from mri2pet.evaluation.table_files import table_path, write_table
from mri2pet.files import missing_target


def compare_features(real: Path, fake: Path, table: Path) -> tuple[Table, list[Path]]:
    """FID, FID∞ and KID of two files, written as `table`.md, .tex and .csv.

    Args:
        real, fake: `.npz` with `features` [n, D] and `subject` [n], who each row is of. Where both
            name the same people, nobody is compared with himself.

    Raises:
        InputError: a file that is none of this, or two that do not fit each other.
        UsageError: `table` is no name. Mri2petError: it cannot be written.
    """
    table = table_path(table)
    sets = [read_features(path) for path in (real, fake)]
    sizes = [next(iter(people.values())).shape[1] for people in sets]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{real} has {sizes[0]} features a row, {fake} has {sizes[1]}; give the same network's."
        )
    names = [set(people) for people in sets]
    measured: People = list(sets[0].values())
    if names[0] == names[1]:
        found = distances_of(measured, {fake.name: [sets[1][name] for name in sets[0]]}, {})
    elif names[0] & names[1]:
        raise InputError(
            f"{real} and {fake} share some people and not others; give features of the same people "
            "or of quite other ones."
        )
    else:
        found = distances_of(measured, {}, {fake.name: list(sets[1].values())})
    distance = found[fake.name]
    rows = sum(len(features) for features in measured)
    made = Table(
        f"{fake.name} against {real.name}",
        list(DISTANCES),
        [Row(fake.name, distance_cells(distance))],
        [
            f"{rows:,} rows of {len(names[0])} people against {distance.slices:,} rows of "
            f"{len(names[1])}; {sizes[0]} features. In brackets: 95 % intervals, FID by a "
            "jackknife of groups of people, KID over pairs of rows of different people."
        ],
    )
    return made, write_table(table, made)


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Person → features [rows, D], float64.

    Raises:
        InputError: no such file, another content, values that are not finite, or a single row.
    """
    if missing := missing_target(path):
        raise InputError(missing)
    try:
        with zipfile.ZipFile(path):  # a lone array is no archive
            arrays = np.load(path, allow_pickle=False)
        with arrays:
            features, subjects = arrays["features"], arrays["subject"].astype(str)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{path}: is no .npz with features [n, D] and subject [n]; write it by numpy.savez."
        ) from None
    if (
        features.ndim != 2
        or subjects.shape != features.shape[:1]
        or features.dtype.kind not in "fiu"
    ):
        raise InputError(
            f"{path}: features {features.shape} and subject {subjects.shape} do not fit; they are "
            "[n, D] and [n]."
        )
    if len(features) < 2 or not features.shape[1]:
        raise InputError(f"{path}: has {len(features)} rows; two and more are needed.")
    if not np.isfinite(features).all():
        raise InputError(f"{path}: holds values that are not finite.")
    return {name: features[subjects == name].astype(np.float64) for name in dict.fromkeys(subjects)}
