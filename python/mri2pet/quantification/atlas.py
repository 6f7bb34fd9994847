"""A user's atlas: labels in template space and their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri2pet.errors import InputError
from mri2pet.files import missing_target
from mri2pet.imaging.files.kinds import ATLAS
from mri2pet.imaging.files.reading import file_sha256, read_image
from mri2pet.imaging.space.resampling import bounding_box, crop_affine
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.reference import check_place, share_in_brain
from mri2pet.tables import read_table

MAX_LABEL = 2**24  # the largest whole number that float32 holds with all before it
BETTER_TURNED = 0.1
WHOLE_BRAIN_MM = 100.0
_SIDES = {"left": -1, "lh": -1, "l": -1, "right": 1, "rh": 1, "r": 1}


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in template space.

    Attributes:
        file: name of the image file.
        sha256: of its bytes.
        labels: int32 `[X, Y, Z]`, 0 outside, where the sform says; cropped.
        names: label → name, of every label of the image.
    """

    file: str
    sha256: str
    labels: Volume
    names: dict[int, str]

    @classmethod
    def read(cls, path: Path | str, names: Path | str) -> Atlas:
        """Labels from an image, names from a table with the columns `index` and `name`.

        Raises:
            InputError: what `read_image` raises (a 4D image among it), values that are no whole
                numbers, a label without a name, a table that cannot be used, or labels that do
                not lie in the template's brain, or on the other side than their names say.
        """
        path, names = Path(path), Path(names)
        image = read_image(path, ATLAS)
        labels = _whole_numbers(path, image.frames[0])
        box = bounding_box(labels > 0)
        volume = Volume(labels[box], crop_affine(image.placed.affine, box), "label")
        named = _named(path, volume, names, read_names(names))
        _check_orientation(path, volume)
        check_place(str(path), "atlas", _weights(volume))
        _check_sides(path, volume, named)
        return cls(path.name, file_sha256(path), volume, named)

    def volume_ml(self, index: int) -> float:
        """Of a label, in template space."""
        return float((self.labels.data == index).sum()) * self.labels.voxel_volume_ml

    def record(self) -> dict[str, str]:
        """What tells this atlas from others."""
        return {"file": self.file, "sha256": self.sha256}


def read_names(path: Path) -> dict[int, str]:
    """The names of labels, as a BIDS `dseg.tsv` has them; other columns do not matter.

    Raises:
        InputError: no such file, no table with `index` and `name`, an index that is no whole
            number or stands there twice, or an empty name.
    """
    if not path.exists():
        raise InputError(
            missing_target(path)
            or f"{path}: there is no such file; give a table with the columns index and name."
        )
    rows = [{key.lower(): cell for key, cell in row.items()} for row in read_table(path)]
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise InputError(
            f"{path}: has no rows with the columns index and name; give a table with both, "
            "tab-separated."
        )
    found: dict[int, str] = {}
    for row in rows:
        try:
            number = float(row["index"])
            index = int(number)
        except (ValueError, OverflowError):
            number, index = 0.5, 0
        if index != number:
            raise InputError(f"{path}: the index {row['index']!r} is no whole number; correct it.")
        if index in found:
            raise InputError(f"{path}: names the index {index} twice; keep one of the rows.")
        if not row["name"]:
            raise InputError(f"{path}: the index {index} has an empty name; give it one.")
        found[index] = row["name"]
    return found


def _whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    whole = np.rint(values)
    if float(np.abs(values - whole).max()) > 1e-3:
        raise InputError(
            f"{path}: holds values that are no whole numbers, as a probability map or a resampled "
            "atlas does; give an atlas of labels (resample labels by nearest neighbour)."
        )
    if whole.min() < 0 or whole.max() >= MAX_LABEL:
        raise InputError(
            f"{path}: holds labels from {whole.min():.0f} to {whole.max():.0f}; give labels from "
            f"0 to {MAX_LABEL - 1}."
        )
    return whole.astype(np.int32)


def _named(path: Path, volume: Volume, table: Path, names: dict[int, str]) -> dict[int, str]:
    """The names of the labels that the image holds."""
    present = [int(i) for i in np.unique(volume.data) if i > 0]
    nameless = [i for i in present if i not in names]
    if nameless:
        first = ", ".join(map(str, nameless[:3])) + (", …" if len(nameless) > 3 else "")
        raise InputError(
            f"{path}: {len(nameless)} of its {len(present)} labels ({first}) have no name in "
            f"{table.name}; add them to the table."
        )
    return {i: names[i] for i in present}


def _weights(volume: Volume) -> Volume:
    return Volume((volume.data > 0).astype(np.float32), volume.affine, "1")


def _check_orientation(path: Path, volume: Volume) -> None:
    """Refuse an atlas of a whole brain that fits the template better with an axis turned over.

    Left and right of the template are alike, so only the other two axes can be told.
    """
    whole = _weights(volume)
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(volume.shape) - 1
    placed = (volume.affine @ corners.T)[:3]
    if (np.ptp(placed, axis=1)[1:] < WHOLE_BRAIN_MM).any():
        return
    inside = share_in_brain(whole)
    for axis, direction in ((1, "front and back"), (2, "top and bottom")):
        for middle in (0.0, float(placed[axis].min() + placed[axis].max()) / 2):
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1.0, 2 * middle
            turned = share_in_brain(Volume(whole.data, turn @ whole.affine, "1"))
            if turned > inside + BETTER_TURNED:
                raise InputError(
                    f"{path}: {100 * inside:.0f} % of this atlas lies in the template's brain, and "
                    f"{100 * turned:.0f} % with {direction} exchanged; correct the orientation in "
                    "its header."
                )


def _check_sides(path: Path, volume: Volume, names: dict[int, str]) -> None:
    """Refuse an atlas most of whose sided regions lie on the other side than their names say."""
    where = np.nonzero(volume.data > 0)
    x_mm = volume.affine[0, :3] @ np.stack(where) + volume.affine[0, 3]
    labels = volume.data[where]
    counts = np.bincount(labels)
    centre_mm = np.bincount(labels, x_mm) / np.maximum(counts, 1)
    right, wrong = 0, 0
    for index, name in names.items():
        words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
        sides = {_SIDES[word] for word in words if word in _SIDES}
        if len(sides) == 1 and abs(centre_mm[index]) > 2.0:
            agree = sides.pop() * centre_mm[index] > 0
            right, wrong = right + agree, wrong + (not agree)
    if wrong > right:
        raise InputError(
            f"{path}: {wrong} of {right + wrong} regions named left or right lie on the other "
            "side; correct the orientation in its header, or the names."
        )
