"""The way back: from model space to the subject's own grid."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.imaging.space.grid import grid_affine, to_xyz
from mri2pet.imaging.space.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.space.smoothing import gaussian
from mri2pet.imaging.space.subject_grid import SubjectGrid

#: PET is kept whole this far outside the brain mask (mm), and is 0 beyond the margin.
WHOLE_MM = 1.0
MARGIN_MM = 3.0


@dataclass(frozen=True, eq=False)
class SpaceRecord:
    """Everything that brings a model PET back to the subject.

    Attributes:
        template_from_subject: 4 x 4, subject RAS mm → template RAS mm.
        grid: the subject's grid and header fields.
        pet_shape: (K, I, J) of the model's PET grid.
        brain_mask: bool `[X, Y, Z]` on the subject's grid.
    """

    template_from_subject: np.ndarray
    grid: SubjectGrid
    pet_shape: tuple[int, int, int]
    brain_mask: np.ndarray

    def to_subject(self, kij: np.ndarray) -> np.ndarray:
        """A model PET on the subject's grid; see `all_to_subject`."""
        return self.all_to_subject(kij[None])[0]

    def all_to_subject(self, volumes: np.ndarray) -> np.ndarray:
        """Model PETs, or their spread, on the subject's grid.

        Cubic B-spline interpolation through the inverse of the registration; negative
        overshoot is cut to 0.

        Args:
            volumes: `[N, K, I, J]` SUVR on the PET grid.

        Returns:
            float32 `[N, X, Y, Z]`, ≥ 0; it fades from 1 to 3 mm outside the brain mask, and is 0
            beyond.

        Raises:
            ValueError: `volumes` are not on the record's PET grid.
        """
        if tuple(volumes.shape[1:]) != tuple(self.pet_shape):
            raise ValueError(
                f"PET of shape {volumes.shape[1:]} is not on the model grid {self.pet_shape}"
            )
        box, weight = self._near_brain()
        near = weight > 0
        # In the order of a NIfTI file, so that writing need not turn the axes around.
        out = np.zeros((len(volumes), *self.grid.shape[::-1]), np.float32).transpose(0, 3, 2, 1)
        for kij, there in zip(volumes, out, strict=True):
            values = resample(
                to_xyz(kij),
                grid_affine(self.pet_shape),
                weight.shape,
                crop_affine(self.grid.affine, box),
                self.template_from_subject,
                "cubic",
                needed=near,
            )
            np.maximum(values, 0.0, out=values)
            np.multiply(values, weight, out=there[box])
        return out

    def nifti(self, array: np.ndarray, unit: str = "SUVR") -> Any:
        """A NIfTI image on the input's grid: shape, affine, qform, sform, codes and units.

        Args:
            array: `[X, Y, Z]`.
            unit: what a value measures; written to `intent_name`.

        Raises:
            ValueError: another shape.
        """
        image = self.grid.nifti(np.asarray(array, dtype=np.float32))
        image.header["intent_name"] = unit.encode()[:15]
        return image

    def to_json(self) -> str:
        """The record as JSON text; the mask is packed, deflated and base64-coded."""
        packed = zlib.compress(np.packbits(self.brain_mask).tobytes(), 6)
        return json.dumps(
            {
                "template_from_subject": self.template_from_subject.tolist(),
                "grid": self.grid.to_dict(),
                "pet_shape": list(self.pet_shape),
                "brain_mask": base64.b64encode(packed).decode(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> SpaceRecord:
        """Undo `to_json`."""
        value = json.loads(text)
        grid = SubjectGrid.from_dict(value["grid"])
        packed = np.frombuffer(zlib.decompress(base64.b64decode(value["brain_mask"])), np.uint8)
        mask = np.unpackbits(packed, count=int(np.prod(grid.shape))).astype(bool)
        k, i, j = value["pet_shape"]
        matrix = np.array(value["template_from_subject"], dtype=np.float64)
        return cls(matrix, grid, (k, i, j), mask.reshape(grid.shape))

    def _near_brain(self) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        """Weights that fall from 1 to 0 outside the mask, inside its bounding box.

        The mask smoothed by a Gaussian of σ = 3 mm is Φ(-d/σ) at a distance d from a flat border;
        the weight is linear in it between the two distances. A hard end would change whole
        voxels where a mask moves by a tenth of a millimetre.
        """
        from scipy.special import ndtr

        voxel = np.linalg.norm(self.grid.affine[:3, :3], axis=0)
        margin = int(np.ceil(2 * MARGIN_MM / voxel.min()))
        box = bounding_box(self.brain_mask, margin)
        soft = gaussian(self.brain_mask[box], MARGIN_MM / voxel, truncate=3)
        low, high = ndtr(-1.0), ndtr(-WHOLE_MM / MARGIN_MM)
        soft -= np.float32(low)
        soft /= np.float32(high - low)
        np.clip(soft, 0.0, 1.0, out=soft)
        soft[self.brain_mask[box]] = 1.0
        return box, soft
