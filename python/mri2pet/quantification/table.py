"""The long table of regions, its description, and what stands in a sidecar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mri2pet import WARNING
from mri2pet.build import versions
from mri2pet.quantification.measure import OF_THE_MEAN, Region
from mri2pet.quantification.settings import Quantification
from mri2pet.quantification.status import Probability, Threshold, probability_above
from mri2pet.tables import tsv_text

COLUMNS = {
    "subject": "from the name of the file or its folder",
    "session": "from the name of the file or its folder",
    "source": "measured, or synthetic: predicted from an MRI",
    "region": "the cortical composite, or a region of the atlas",
    "index": "label in the atlas",
    "volume_ml": "of the region in template space, ml",
    "mean_suvr": "in the mean of the samples, SUVR by the reference region; n/a where the field "
    "of view holds less than 90 % of the region",
    "sd_samples": "standard deviation over the samples (n - 1), SUVR; no error bar",
    "low": "lower end of the interval, SUVR; only of a calibrated model",
    "high": "upper end of the interval, SUVR; only of a calibrated model",
    "level": "level of the interval; only of a calibrated model",
    "covered": "share of the region inside the field of view",
}
NOTE = "note"


@dataclass(frozen=True)
class Measured:
    """One person's regions and where they come from.

    Attributes:
        synthetic: predicted from an MRI.
        simulated: no person was scanned.
        details: for the description: file, hash, how it was placed, model.
        interval: low, high (SUVR) and level of the composite, of a calibrated model.
        residuals: measured − synthetic composite (SUVR) of the people of its calibration.
        probability: of exceeding the threshold, where it is known already.
    """

    subject: str
    session: str | None
    synthetic: bool
    simulated: bool
    regions: list[Region]
    details: dict[str, Any] = field(default_factory=dict)
    interval: tuple[float, float, float] | None = None
    residuals: Sequence[float] | None = None
    probability: Probability | None = None

    @property
    def source(self) -> str:
        """`measured` or `synthetic`."""
        return "synthetic" if self.synthetic else "measured"


def values(person: Measured, what: Quantification) -> dict[str, Any]:
    """Composite, Centiloid and probability of one person, each with what it is worth."""
    composite = person.regions[0]
    found: dict[str, Any] = {
        "cortical_suvr": None if composite.mean is None else round(composite.mean, 5),
        "composite": what.composite.key,
    }
    if what.centiloid is not None and composite.mean is not None:
        measured = not (person.synthetic or person.simulated)
        value = what.centiloid.value(composite.mean, measured=measured)
        found["centiloid"] = {
            "heading": what.centiloid.heading(value.calibrated),
            **value.as_dict(),
        }
    if what.threshold is not None:
        p = _probability(person, what.threshold)
        found["status"] = {
            "heading": what.threshold.heading(p.calibrated),
            "question": what.threshold.question,
            **p.as_dict(),
        }
    return found


def _probability(person: Measured, threshold: Threshold) -> Probability:
    composite = person.regions[0]
    if not person.synthetic:
        return Probability(None, False, "measured, so there is no probability to tell")
    if composite.mean is None:
        return Probability(None, False, "the composite was not measured")
    if person.probability is not None:
        return person.probability
    if composite.note == OF_THE_MEAN:
        return Probability(None, False, "the mean of the samples tells no probability")
    return probability_above(composite.suvr, composite.mean, threshold, person.residuals)


def table(people: Sequence[Measured], what: Quantification) -> str:
    """The long table, tab-separated, one line a person and region."""
    rows: list[dict[str, Any]] = []
    extra: dict[str, str] = {}
    synthetic = any(person.synthetic for person in people)
    for person in people:
        of_all = values(person, what)
        for region in person.regions:
            row = {
                "subject": person.subject,
                "session": person.session,
                "source": person.source,
                "region": region.name,
                "index": region.index,
                "volume_ml": region.volume_ml,
                "mean_suvr": region.mean,
                "sd_samples": region.sd,
                "covered": region.covered,
            }
            notes = [region.note]
            if region.index is None:
                row["region"] = f"{region.name}: {what.composite.name}"
                if person.interval is not None:
                    row |= dict(zip(("low", "high", "level"), person.interval, strict=True))
                for key, number in (("centiloid", "centiloid"), ("status", "p")):
                    # A measured PET has no probability, and no column where others have theirs.
                    if key == "status" and synthetic and not person.synthetic:
                        continue
                    if key in of_all:
                        extra[of_all[key]["heading"]] = of_all[key]["note"]
                        row[of_all[key]["heading"]] = of_all[key][number]
                        notes.append(of_all[key]["note"])
            rows.append(row | {NOTE: "; ".join(filter(None, notes)) or None})
    return tsv_text([*COLUMNS, *extra, NOTE], rows)


def description(
    people: Sequence[Measured], what: Quantification, failures: dict[str, str] | None = None
) -> str:
    """The JSON beside a table: what was measured how, on what, and what the values are worth."""
    synthetic = any(person.synthetic for person in people)
    tree = {
        "warning": WARNING if synthetic else WARNING.partition(".")[0] + ".",
        **what.record(),
        "columns": COLUMNS,
        "values": [
            {
                "subject": person.subject,
                "session": person.session,
                "source": person.source,
                "simulated": person.simulated,
                **values(person, what),
                **person.details,
            }
            for person in people
        ],
        "failures": failures or {},
        "versions": versions(),
    }
    return json.dumps(tree, indent=2) + "\n"


def for_sidecar(person: Measured, what: Quantification) -> dict[str, Any]:
    """All of one person, with the values of every sample, to be read again."""
    return {
        **what.record(),
        "values": values(person, what),
        "regions": [region.as_dict() for region in person.regions],
    }
