"""`OUT/regions.{tsv,json}` of an evaluation: measured and synthetic PETs in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.evaluation.regions import read_regions
from mri2pet.evaluation.stored import read_evaluation
from mri2pet.files import written_whole
from mri2pet.quantification import Quantification
from mri2pet.quantification.composite import BUILT_IN
from mri2pet.quantification.table import Measured, description, table
from mri2pet.tables import read_table
from mri2pet.uncertainty.calibration import Calibration
from mri2pet.uncertainty.people import CORTEX, People
from mri2pet.uncertainty.results import ResultUncertainty
from mri2pet.uncertainty.summary import Status, status_of


def write_region_table(out: Path, what: Quantification, uncertainty: ResultUncertainty) -> None:
    """Every scan's measured and synthetic regions as a long table, and its description.

    Args:
        out: what `evaluate` wrote, with the same `what`.
        uncertainty: what may be said of the model's error here.

    Raises:
        InputError: `out` holds no evaluation. OSError: it cannot be written.
    """
    names = {line["row"] for line in read_table(out / "metrics.tsv")}
    stored = read_evaluation(out, names)
    keys = ("model", "model_sha256", "members", "sampler", "steps", "samples", "seed")
    drawn_by = {key: stored.settings[key] for key in keys if key in stored.settings}
    people: list[Measured] = []
    failures: dict[str, str] = {}
    for name, record in stored.records.items():
        regions = read_regions(out, record, what)
        if regions is None:
            failures[name] = "its regions were not measured, see failures.tsv"
            continue
        subject = record["subject"]
        session = name.removeprefix(subject).removeprefix("_") or None
        simulated = record["true_cortical_suvr"] is not None
        measured = Measured(subject, session, False, simulated, regions["measured"])
        people += [
            measured,
            uncertainty.quantified(subject, session, regions["synthetic"], what, drawn_by),
        ]
    with written_whole(out / "regions.tsv") as part:
        part.write_text(table(people, what), encoding="utf-8")
    with written_whole(out / "regions.json") as part:
        part.write_text(description(people, what, failures), encoding="utf-8")


def status(
    out: Path, people: People, what: Quantification, calibration: Calibration | None
) -> Status | None:
    """How good the probabilities of exceeding `what`'s threshold are, over first scans.

    Of another composite than the built-in one, which no calibration speaks of, people without a
    value are left out.

    Returns:
        None where no threshold is named, or nobody has a value.
    """
    if what.threshold is None:
        return None
    if what.composite.key == BUILT_IN:
        of_cortex = (people.drawn[CORTEX], people.mean[CORTEX], people.measured[CORTEX])
        return status_of(*of_cortex, what.threshold, CORTEX, calibration)
    found = [
        values
        for record in read_evaluation(out, people.rows).records.values()
        if (values := _composite(out, record, what)) is not None
    ]
    if not found:
        return None
    drawn, mean, measured = (np.array(values) for values in zip(*found, strict=True))
    return status_of(drawn, mean, measured, what.threshold, what.composite.name)


def _composite(
    out: Path, record: dict[str, Any], what: Quantification
) -> tuple[tuple[float, ...], float, float] | None:
    """The composite of samples, their mean and the measured PET, or None where one is missing."""
    regions = read_regions(out, record, what)
    if regions is None:
        return None
    drawn, measured = (regions[source][0] for source in ("synthetic", "measured"))
    if drawn.mean is None or measured.mean is None:
        return None
    return drawn.suvr, drawn.mean, measured.mean
