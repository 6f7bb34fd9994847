"""What a PET is scaled by: the mean of a reference region, or its own minimum and maximum.

A reference is named by a setting: `cerebellum` (the whole cerebellum of `imaging.suvr.regions`),
`minmax` (every volume to [0, 1] by itself, as the authors of MRI2PET do), or the path of a VOI
file in template space. A file is known by its content, never by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError, ModelError
from mri2pet.imaging.files.kinds import VOI
from mri2pet.imaging.files.reading import file_sha256, read_image
from mri2pet.imaging.space.resampling import bounding_box, crop_affine
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.means import region_mean_mm

CEREBELLUM, MINMAX = "cerebellum", "minmax"
NAMES = {
    CEREBELLUM: "whole cerebellum, built in",
    MINMAX: "minimum and maximum of each volume",
}
MIN_COVERED = 0.9
MIN_INSIDE_BRAIN = 0.8


@dataclass(frozen=True, eq=False)
class Reference:
    """How PETs are scaled.

    Attributes:
        key: what decides the result: `cerebellum`, `minmax`, or `sha256:` and the hash of a VOI
            file's content.
        name: for people: what `key` means; of a VOI its file name and SHA-256.
        voi: the user's region in template space, 0 or 1; None for the other two.
    """

    key: str
    name: str
    voi: Volume | None = None

    @classmethod
    def of(cls, setting: Path | str) -> Reference:
        """The reference of a setting: `cerebellum`, `minmax` or a VOI file in template space.

        Raises:
            InputError: what `read_voi` raises, or the VOI lies outside the template's brain.
        """
        if str(setting) in NAMES:
            return cls(str(setting), NAMES[str(setting)])
        path = Path(setting)
        if not path.exists() and not path.is_symlink():
            raise InputError(
                f"{setting}: there is no such file; a PET's reference is {CEREBELLUM}, {MINMAX} "
                "or a VOI file in template space."
            )
        voi = placed_voi(path)
        digest = file_sha256(path)
        return cls(f"sha256:{digest}", f"{path.name}, sha256 {digest}", voi)

    @property
    def unit(self) -> str:
        """Of a PET scaled by it."""
        return "0 to 1" if self.key == MINMAX else "SUVR"

    @property
    def region(self) -> Volume:
        """Weights in template space, RAS mm, whose mean uptake is 1 SUVR.

        Raises:
            ValueError: `minmax` has no region.
        """
        if self.key == MINMAX:
            raise ValueError("minmax has no reference region")
        if self.voi is not None:
            return self.voi
        from mri2pet.imaging.suvr.regions import cerebellum

        return cerebellum(2)

    def record(self) -> dict[str, str]:
        """For the description of a model that learnt PETs scaled so."""
        return {"key": self.key, "name": self.name, "unit": self.unit}


def recorded_reference(provenance: Mapping[str, Any]) -> dict[str, str]:
    """What the PETs were scaled by that a model learnt, see `Reference.record`.

    Models of other origin, which record none, draw SUVR by the whole cerebellum.
    """
    return dict(provenance.get("reference") or Reference.of(CEREBELLUM).record())


def in_suvr(drawn: np.ndarray, provenance: Mapping[str, Any]) -> np.ndarray:
    """Volumes that a model drew, in SUVR.

    A model of `minmax` draws PETs without a scale that can be compared. Its volumes are 0
    outside the brain, so they are PETs up to a factor: each is divided by its own mean in the
    whole cerebellum.

    Args:
        drawn: float32 `[S, K, I, J]` on the PET grid, in the unit that the model learnt.
        provenance: of the model.

    Returns:
        float32 `[S, K, I, J]`, SUVR by the reference of the model; by the whole cerebellum for
        `minmax`.

    Raises:
        ModelError: a volume of a `minmax` model holds no signal in the cerebellum.
    """
    if recorded_reference(provenance)["key"] != MINMAX:
        return drawn
    from mri2pet.imaging.suvr.regions import region_mean

    levels = np.array([region_mean(kij, "cerebellum", kij.shape) for kij in drawn])
    if not (levels > 0.01).all():
        raise ModelError(
            "the model draws no signal in the cerebellum, so its volumes, learnt without a scale "
            "(minmax), cannot be brought to SUVR; train it longer"
        )
    return (drawn / levels[:, None, None, None]).astype(np.float32)


def reference_level(
    name: str,
    pet: Volume,
    reference: Reference,
    template_from_pet: np.ndarray,
    seen: np.ndarray | None = None,
) -> float:
    """Mean of a PET (its own unit) in a reference region of template space.

    Args:
        seen: as in `means.region_mean_mm`.

    Raises:
        InputError: the PET does not cover the region, or has no signal in it; names the PET.
    """
    mean, covered = region_mean_mm(pet, reference.region, template_from_pet, seen)
    if covered < MIN_COVERED:
        raise InputError(
            f"{name}: its field of view holds only {100 * covered:.0f} % of the reference region "
            f"({reference.name}); give a PET that covers the cerebellum."
        )
    if not mean > 0:
        raise InputError(
            f"{name}: holds no signal in the reference region ({reference.name}) after "
            "registration; check that this PET and MRI are of one person."
        )
    return mean


def read_voi(path: Path | str) -> Volume:
    """A volume of interest in template space: weights 0 or 1.

    The voxels lie where the sform says; the qform counts only without one. Some published VOI
    files (the Centiloid project's among them) carry a qform with two axes flipped, which tools
    that prefer the qform obey.

    Raises:
        InputError: what `read_image` raises, no voxel above 0.5, or several labels.
    """
    image = read_image(path, VOI)
    values = image.frames[0]
    weights = (values > 0.5).astype(np.float32)
    if not weights.any():
        raise InputError(f"{path}: holds no voxel above 0.5; give a VOI image of zeros and ones.")
    inside = values[values > 0.5]
    if inside.max() > 1.5 and inside.min() != inside.max():
        raise InputError(f"{path}: holds several labels; give a VOI image of zeros and ones.")
    return Volume(weights, image.placed.affine, "1")


def placed_voi(path: Path) -> Volume:
    """As `read_voi`, cropped to what is not 0, and certain to lie in the template's brain.

    Raises:
        InputError: what `read_voi` raises, or the VOI is of another space.
    """
    voi = read_voi(path)
    check_place(str(path), "VOI", voi)
    box = bounding_box(voi.data > 0)
    return Volume(voi.data[box], crop_affine(voi.affine, box), voi.unit)


def check_place(name: str, what: str, region: Volume) -> None:
    """Refuse a region that lies outside the template's brain: it is of another space.

    Args:
        what: the region's kind, for the sentence.

    Raises:
        InputError: with the share that lies inside.
    """
    inside = share_in_brain(region)
    if inside < MIN_INSIDE_BRAIN:
        raise InputError(
            f"{name}: only {100 * inside:.0f} % of this {what} lies in the template's brain "
            f"where its header puts it; give one in MNI space."
        )


def share_in_brain(region: Volume) -> float:
    """Share of a region (weights in template space) that lies in the template's brain."""
    from mri2pet.imaging.space.template import template_mask

    mask = template_mask(2)
    mean, covered = region_mean_mm(Volume(mask.data.astype(np.float32), mask.affine), region)
    return mean * covered
