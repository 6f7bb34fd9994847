"""Several evaluations beside each other: the paper's Table 1, tests of the differences, files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri2pet.errors import UsageError
from mri2pet.evaluation.distance_rows import Distance, People, distances_of
from mri2pet.evaluation.features import KINDS
from mri2pet.evaluation.layout import Table
from mri2pet.evaluation.paper_stars import paper_stars_note, paper_tests, star_as_paper
from mri2pet.evaluation.printed import paper_table
from mri2pet.evaluation.significance import differences, write_tests
from mri2pet.evaluation.stored import Stored, StoredMethod, read_evaluation
from mri2pet.evaluation.table1 import (
    FLOOR,
    as_paper_cells,
    distance_cells,
    metric_cells,
    paper_cells,
    star,
    table1,
)
from mri2pet.evaluation.table_files import table_path, write_table
from mri2pet.evaluation.tables import RIVALS

SAME = ("cohort", "registration", "reference", "split")


@dataclass(frozen=True)
class Comparison:
    """What `compare` made.

    Attributes:
        table: rows are methods.
        files: the table's three forms and tests.tsv.
        left_out: scans that not all evaluations have.
    """

    table: Table
    files: list[Path]
    left_out: int


def compare(
    outs: Sequence[str | Path],
    table: str | Path,
    *,
    network: str | None = None,
    paper: bool = False,
    only: Collection[str] | None = None,
) -> Comparison:
    """Writes `table`.md, .tex, .csv and `table`_tests.tsv from evaluations of the same scans.

    Args:
        outs: folders of `mri2pet evaluate`; the first one's sample is what the others are tested
            against.
        network: the features folder to take where there are several; by default one of a trained
            network, which the notes name.
        paper: columns as the paper's authors compute them too, with stars of the first one's
            sample against the best external baseline.
        only: take these scans alone.

    Raises:
        InputError: a folder without an evaluation.
        UsageError: evaluations of other cohorts, splits or people; no scan in common; no figures as
            in the paper or no features of that network; `table` is no name.
        Mri2petError: a file cannot be written.
    """
    path = table_path(table)
    stored = [read_evaluation(out, only) for out in outs]
    rows, left_out = common_rows(stored)
    people = [stored[0].records[row]["subject"] for row in rows]
    methods = _methods(stored)
    network = _network(stored, rows, network)
    cells = {m.name: metric_cells(m, rows, people) for m in methods}
    found: dict[str, Distance] = {}
    if network is not None:
        found = _distances(methods, rows, people, network)
        for name, distance in found.items():
            cells.setdefault(name, {}).update(distance_cells(distance))
    if paper:
        for method in methods:
            cells[method.name].update(as_paper_cells(method, rows, network))
    for method in methods:
        cells[method.name].update(paper_cells(method))
    tests = differences(methods, rows, people, found)
    star(cells, tests, methods[0].name)
    as_paper = paper_tests(cells, methods)
    star_as_paper(cells, as_paper)
    made = table1(stored, methods, cells, rows, people, found, network, paper, left_out)
    if as_paper:
        made.notes.append(paper_stars_note(as_paper))
    files = [*write_table(path, made), path.with_name(f"{path.name}_tests.tsv")]
    write_tests(files[-1], [*(t.row() for t in tests), *(t.row() for t in as_paper)])
    return Comparison(made, files, left_out)


def common_rows(stored: Sequence[Stored]) -> tuple[list[str], int]:
    """Scans that all evaluations have, and how many others there are.

    Raises:
        UsageError: other cohorts, splits or people, or nothing in common.
    """
    first = stored[0]
    for other in stored[1:]:
        differ = [key for key in SAME if other.settings.get(key) != first.settings.get(key)]
        if differ:
            raise UsageError(
                f"{other.out} and {first.out} differ in {', '.join(differ)}; compare evaluations "
                "of the same scans"
            )
        for row, record in other.records.items():
            if row in first.records and first.records[row]["subject"] != record["subject"]:
                raise UsageError(f"{other.out} and {first.out}: {row} is of other people")
    every = set().union(*(s.records for s in stored))
    shared = [row for row in first.records if all(row in s.records for s in stored)]
    if not shared:
        raise UsageError("the evaluations have no scan in common")
    return shared, len(every) - len(shared)


def titles(stored: Sequence[Stored]) -> list[str]:
    """How tables and figures call the models of some evaluations: as the paper does."""
    names = paper_table("table1")["names"]
    plain = [names.get(s.settings["ablation"], s.settings["ablation"]) for s in stored]
    return [
        name if plain.count(name) == 1 else f"{name} ({s.out.name})"
        for s, name in zip(stored, plain, strict=True)
    ]


def _methods(stored: list[Stored]) -> list[StoredMethod]:
    """One sample and the mean of the samples of each evaluation, then the first one's rivals."""
    methods = []
    for s, name in zip(stored, titles(stored), strict=True):
        methods.append(StoredMethod(f"{name}: one sample", s, "one_sample", s.settings["ablation"]))
        if s.settings["samples"] > 1:
            mean = f"{name}: mean of {s.settings['samples']}"
            methods.append(StoredMethod(mean, s, "mean_of_samples"))
    twice = {m.name for m in methods if [n.name for n in methods].count(m.name) > 1}
    if twice:
        raise UsageError(f"two folders have the same name; rename one ({', '.join(sorted(twice))})")
    return methods + [StoredMethod(title, stored[0], key) for key, title in RIVALS.items()]


def _network(stored: list[Stored], rows: list[str], wanted: str | None) -> str | None:
    """The features folder that all evaluations have for all scans, or None."""
    whole = [
        name
        for name in stored[0].networks()
        if all(
            name in s.networks() and all(s.features(name, k, r) is not None for k in KINDS)
            for s in stored
            for r in rows
        )
    ]
    if wanted is not None and wanted not in whole:
        raise UsageError(
            f"not all evaluations hold features named {wanted}; evaluate again with the same "
            f"network (all have: {', '.join(whole) or 'none'})"
        )
    return wanted or next(iter(sorted(whole, key=lambda name: _meaningless(stored[0], name))), None)


def _meaningless(stored: Stored, network: str) -> bool:
    return not stored.networks()[network]["network"]["pretrained"]


def _distances(
    methods: list[StoredMethod], rows: list[str], people: list[str], network: str
) -> dict[str, Distance]:
    first = methods[0].stored
    drawn = {
        m.name: _people(m.stored, network, m.method, rows, people)
        for m in methods
        if m.method in KINDS
    }
    floor = first.networks()[network]["training"]
    kept = list(floor)[: len(rows)]  # as many as the others have, since FID depends on the number
    training = _people(first, network, "training", kept, [floor[row] for row in kept])
    measured = _people(first, network, "measured", rows, people)
    return distances_of(measured, drawn, {FLOOR: training} if training else {})


def _people(stored: Stored, network: str, kind: str, rows: list[str], people: list[str]) -> People:
    """Features of each person's scans together; scans without any are passed over."""
    found: dict[str, list[np.ndarray]] = {}
    for row, person in zip(rows, people, strict=True):
        features = stored.features(network, kind, row)
        if features is not None and len(features):
            found.setdefault(person, []).append(features)
    return [np.concatenate(scans) for scans in found.values()]
