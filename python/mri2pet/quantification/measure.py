"""The regions of one person, in one measured PET or in the samples of a synthetic one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mri2pet.imaging.space.grid import grid_affine, to_xyz
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.imaging.suvr.means import RegionMean, field_of_view, label_means_mm, region_mean_mm
from mri2pet.imaging.suvr.reference import MIN_COVERED, reference_level
from mri2pet.imaging.suvr.regions import cortical_suvr
from mri2pet.quantification.composite import BUILT_IN
from mri2pet.quantification.settings import Quantification

COMPOSITE = "cortical composite"
OF_THE_MEAN = "of the mean PET; the samples were not kept, so there is no spread"


@dataclass(frozen=True)
class Region:
    """What was measured in one region.

    Attributes:
        name: `COMPOSITE`, or the label's name.
        index: the label; None for the composite.
        volume_ml: in template space.
        suvr: over the reference of the composite, of every sample, or of the one PET; empty
            where the field of view does not hold the region.
        covered: share of the region inside the field of view.
        of_mean: in the mean of the samples (`engines.mean`), SUVR; None where it was not measured.
        note: why there is no value, or how it was come by; '' for the plain case.
    """

    name: str
    index: int | None
    volume_ml: float
    suvr: tuple[float, ...]
    covered: float
    note: str = ""
    of_mean: float | None = None

    @property
    def mean(self) -> float | None:
        """In the mean of the samples, SUVR; without that over the values."""
        if self.of_mean is not None or not self.suvr:
            return self.of_mean
        return float(np.mean(self.suvr))

    @property
    def sd(self) -> float | None:
        """Over the samples (n − 1), SUVR; None for fewer than two."""
        return float(np.std(self.suvr, ddof=1)) if len(self.suvr) > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "region": self.name,
            "index": self.index,
            "volume_ml": round(self.volume_ml, 3),
            "suvr": [round(value, 5) for value in self.suvr],
            "mean": None if self.of_mean is None else round(self.of_mean, 5),
            "covered": round(self.covered, 4),
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Region:
        """Undo `as_dict`."""
        index, mean = value["index"], value.get("mean")
        return cls(
            str(value["region"]),
            None if index is None else int(index),
            float(value["volume_ml"]),
            tuple(map(float, value["suvr"])),
            float(value["covered"]),
            str(value["note"]),
            None if mean is None else float(mean),
        )


def measure(
    name: str,
    pets: Sequence[Volume],
    template_from_pet: np.ndarray,
    what: Quantification,
    *,
    composite: Region | None = None,
    note: str = "",
) -> list[Region]:
    """The composite, then the regions of the atlas in the order of their labels.

    Every volume is divided by its own mean in the reference region.

    Args:
        name: of the image, for messages.
        pets: one measured PET, or the samples of a synthetic one and their mean, any unit.
        template_from_pet: 4 x 4, RAS mm of the PETs → template RAS mm.
        composite: where it was measured already.
        note: of every region whose value was measured here.

    Raises:
        InputError: a PET does not cover the reference region, or has no signal in it.
    """
    target: list[RegionMean] = []
    labels: list[dict[int, RegionMean]] = []
    for pet in pets:
        seen = field_of_view(pet)
        level = reference_level(name, pet, what.composite.reference, template_from_pet, seen)
        if composite is None:
            found = RegionMean(*region_mean_mm(pet, what.composite.target, template_from_pet, seen))
            target.append(RegionMean(found.mean / level, found.covered))
        if what.atlas is not None:
            means = label_means_mm(pet, what.atlas.labels, template_from_pet, seen)
            labels.append({i: RegionMean(m.mean / level, m.covered) for i, m in means.items()})
    if composite is None:
        composite = _region(COMPOSITE, None, composite_ml(what), target, note)
    regions = [composite]
    if what.atlas is not None:
        atlas = what.atlas
        for index, label in atlas.names.items():
            of_samples = [means[index] for means in labels]
            regions.append(_region(label, index, atlas.volume_ml(index), of_samples, note))
    return regions


def measure_in_template(name: str, drawn: Drawn, what: Quantification) -> list[Region]:
    """As `measure`, of samples and their mean on the model's grid, which lies in template space."""
    every = (*drawn.samples, drawn.mean)
    place = grid_affine(drawn.mean.shape)
    pets = [Volume(to_xyz(kij), place, "SUVR") for kij in every]
    composite = None
    if what.composite.key == BUILT_IN:
        composite = built_in_composite(what, [cortical_suvr(kij) for kij in every])
    return [
        replace(region, suvr=region.suvr[:-1], of_mean=region.suvr[-1]) if region.suvr else region
        for region in measure(name, pets, np.eye(4), what, composite=composite)
    ]


def built_in_composite(
    what: Quantification, samples: Sequence[float], mean: float | None = None
) -> Region:
    """The built-in composite of values that every result keeps, SUVR.

    Args:
        samples: of every sample, or of the one PET.
        mean: of the mean of the samples.
    """
    values = tuple(map(float, samples))
    return Region(COMPOSITE, None, composite_ml(what), values, 1.0, of_mean=mean)


def composite_ml(what: Quantification) -> float:
    """Volume of the composite's target in template space."""
    target = what.composite.target
    return float(target.data.sum()) * target.voxel_volume_ml


def _region(
    name: str, index: int | None, volume_ml: float, found: Sequence[RegionMean], note: str
) -> Region:
    covered = min(mean.covered for mean in found)
    if covered < MIN_COVERED:
        why = f"only {100 * covered:.0f} % of the region lies in the field of view"
        return Region(name, index, volume_ml, (), covered, why)
    return Region(name, index, volume_ml, tuple(mean.mean for mean in found), covered, note)
