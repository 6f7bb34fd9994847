"""`OUT/uncertainty.{md,tsv,png}` and `OUT/regions.{tsv,json}` of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import find_cache
from mri2pet.engines import load_engine
from mri2pet.errors import Mri2petError
from mri2pet.evaluation.settings import model_reference
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.reference import CEREBELLUM
from mri2pet.quantification import Quantification
from mri2pet.tables import write_tsv
from mri2pet.uncertainty.calibration import (
    NOT_CALIBRATED,
    Calibration,
    read_calibration,
    settings_of,
    trained_on_simulated,
)
from mri2pet.uncertainty.figure import draw_figure
from mri2pet.uncertainty.people import MIN_SAMPLES, People, read_people
from mri2pet.uncertainty.regions import status, write_region_table
from mri2pet.uncertainty.results import ResultUncertainty
from mri2pet.uncertainty.summary import climatology_of, summarise
from mri2pet.uncertainty.tables import COLUMNS, markdown, rows


def check_calibration(model: str | Path | Sequence[str | Path]) -> None:
    """Refuse before PETs are drawn what `write_uncertainty` would refuse after.

    Raises:
        ModelError: the calibration beside the model is damaged or another model's.
    """
    read_calibration(model, load_engine(model, engine="torch").sha256)


def write_uncertainty(
    out: str | Path,
    model: str | Path | Sequence[str | Path],
    *,
    training_data: str | Path,
    training_registration: str = "estimate",
    reference: str | Path = CEREBELLUM,
    cache: str | Path | None = None,
    what: Quantification | None = None,
) -> str:
    """Writes how sure the samples of a finished evaluation are, and how right, and its regions.

    Args:
        out: what `evaluate` wrote, with the same model, reference, cache and `what`.
        training_data, training_registration: the cohort whose training people are the climatology.
        what: regions for `OUT/regions.tsv`; its threshold adds the scores of the amyloid status.

    Returns:
        A line that says where it is, or why it is not there.

    Raises:
        InputError: `out` holds no evaluation. ModelError: the calibration beside the model is
            damaged or another model's. Mri2petError: `out` cannot be written.
    """
    out = Path(out)
    people = read_people(out)
    network = load_engine(model, engine="torch")
    calibration = read_calibration(model, network.sha256)
    usable, note = _usable(calibration, people, network.provenance)
    try:
        if what is not None:
            simulated = trained_on_simulated(network.provenance)
            write_region_table(out, what, ResultUncertainty(usable, note, simulated))
        if people.samples < MIN_SAMPLES:
            return f"no uncertainty.md: it needs at least {MIN_SAMPLES} samples of each person"
        cohort = find_cache(
            training_data,
            cache,
            mri_shape=network.config.mri_shape,
            pet_shape=network.config.pet_shape,
            registration=training_registration,
            reference=model_reference(network, reference, what),
        )
        asked = None if what is None else status(out, people, what, usable)
        summary = summarise(people, climatology_of(cohort), usable, asked)
        with written_whole(out / "uncertainty.md") as part:
            part.write_text(markdown(summary, note))
        write_tsv(out / "uncertainty.tsv", COLUMNS, rows(summary))
        draw_figure(out / "uncertainty.png", people, summary, usable)
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error
    return f"uncertainty of the samples: {out / 'uncertainty.md'}"


def _usable(
    calibration: Calibration | None, people: People, provenance: dict[str, Any]
) -> tuple[Calibration | None, str]:
    """The calibration where it says something of these people, and a sentence on it."""
    if calibration is None:
        return None, "The model has no calibration; mri2pet calibrate makes one."
    settings, cohort = people.settings, calibration.cohort
    here = settings_of(
        provenance,
        sampler=settings["sampler"],
        steps=settings["steps"],
        samples=settings["samples"],
    )
    if misfits := calibration.misfits(here):
        return (
            None,
            f"The model's calibration is left out: {NOT_CALIBRATED} ({', '.join(misfits)}).",
        )
    same = cohort.key == settings["cohort"]
    if same and (cohort.split == settings["split"] or "all" in (cohort.split, settings["split"])):
        return None, "The model's calibration is left out: it was made from these people."
    return calibration, f"Calibrated: on {cohort.described}."
