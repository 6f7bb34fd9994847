"""The grid of an input image as its header says it, to be repeated on what is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_QFORM_FIELDS = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM_FIELDS = ("srow_x", "srow_y", "srow_z")
_FORM_DISAGREEMENT_MM = 0.5
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
HEAD_MM = (100.0, 1000.0)
"""Shortest and longest field of view, along any axis, that is taken for one of a head."""


@dataclass(frozen=True)
class SubjectGrid:
    """Shape and place of the input's voxels.

    Attributes:
        shape: `(X, Y, Z)`.
        affine: 4 x 4, voxel index → RAS mm, as used here.
        header: NIfTI header fields by name (pixdim, qform, sform, codes, xyzt_units), copied
            from a NIfTI input bit by bit; None for other formats, whose affine is written as
            qform and sform with code 1 (scanner).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    header: dict[str, Any] | None

    @classmethod
    def of(cls, image: Any, *, assume_ras: bool, doubts: list[str]) -> SubjectGrid | None:
        """The grid of a nibabel image, in mm whatever unit its header names.

        Args:
            image: any nibabel spatial image.
            assume_ras: what to do when the header does not say where the axes point: take them
                as R, A, S about the grid's centre.
            doubts: takes one sentence for each thing that is doubtful.

        Returns:
            None when the header does not say where the axes point and `assume_ras` is off.
        """
        shape = tuple(int(n) for n in image.shape[:3])
        placed = _has_orientation(image)
        if not placed and not assume_ras:
            return None
        affine = np.asarray(image.affine, dtype=np.float64) if placed else _assumed_ras(image)
        header = None
        if _is_nifti(image):
            header = _nifti_fields(image.header)
            to_mm = _unit_in_mm(image, affine, doubts)
            affine = np.diag([to_mm, to_mm, to_mm, 1.0]) @ affine
            _warn_of_disagreement(image, to_mm, doubts)
        if not placed:
            doubts.append("The header has no orientation; its axes were assumed to be R, A, S.")
        return cls((shape[0], shape[1], shape[2]), affine, header)

    def nifti(self, array: np.ndarray) -> Any:
        """A NIfTI-1 image of `[X, Y, Z]` values on this grid, with the input's header fields.

        Raises:
            ValueError: another shape.
        """
        import nibabel

        if array.shape != self.shape:
            raise ValueError(f"values of shape {array.shape} are not on a grid {self.shape}")
        if self.header is None:
            image = nibabel.Nifti1Image(array, self.affine)
            image.set_sform(self.affine, code=1)
            image.set_qform(self.affine, code=1)
            image.header.set_xyzt_units("mm")
            return image
        header = nibabel.Nifti1Header()
        header.set_data_dtype(array.dtype)
        header.set_data_shape(array.shape)
        for key, value in self.header.items():
            if key == "pixdim":
                header["pixdim"][:4] = value
            else:
                header[key] = value
        return nibabel.Nifti1Image(array, header.get_best_affine(), header)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"shape": list(self.shape), "affine": self.affine.tolist(), "header": self.header}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> SubjectGrid:
        """Undo `to_dict`."""
        x, y, z = value["shape"]
        return cls((x, y, z), np.array(value["affine"], dtype=np.float64), value["header"])


def _is_nifti(image: Any) -> bool:
    import nibabel

    return isinstance(image.header, nibabel.Nifti1Header)


def _nifti_fields(header: Any) -> dict[str, Any]:
    names = (*_QFORM_FIELDS, *_SFORM_FIELDS, "qform_code", "sform_code", "xyzt_units")
    fields = {name: np.asarray(header[name]).tolist() for name in names}
    return {"pixdim": np.asarray(header["pixdim"])[:4].tolist(), **fields}


def _has_orientation(image: Any) -> bool:
    """Whether the file itself says where its axes point."""
    header = image.header
    if _is_nifti(image):
        return int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
    if "goodRASFlag" in getattr(header, "keys", list)():
        return int(header["goodRASFlag"]) > 0
    mat = getattr(image, "file_map", {}).get("mat")
    if mat is not None and mat.filename is not None:
        return Path(mat.filename).exists()
    if mat is not None and image.get_filename() is None:
        return image.affine is not None  # made in memory, with the affine it was given
    return not _is_analyze(image)


def _is_analyze(image: Any) -> bool:
    from nibabel.analyze import AnalyzeHeader

    return isinstance(image.header, AnalyzeHeader)


def holds_a_head(affine: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a field of view (affine in mm) is as large as a head and no larger than a scanner."""
    view = np.linalg.norm(affine[:3, :3], axis=0) * np.array(shape[:3])
    return bool(HEAD_MM[0] <= view.min() and view.max() <= HEAD_MM[1])


def _unit_in_mm(image: Any, affine: np.ndarray, doubts: list[str]) -> float:
    """Length of the header's unit, mm; 1 for an unknown one, or where only mm make a head."""
    unit = image.header.get_xyzt_units()[0]
    to_mm = _MM.get(unit, 1.0)
    if to_mm == 1.0:
        return 1.0
    scaled = np.diag([to_mm, to_mm, to_mm, 1.0]) @ affine
    if not holds_a_head(scaled, image.shape) and holds_a_head(affine, image.shape):
        doubts.append(f"The header's unit is {unit}, but its sizes are those of a head in mm.")
        return 1.0
    doubts.append(f"The header's unit is {unit}; its sizes were brought to mm.")
    return to_mm


def _warn_of_disagreement(image: Any, to_mm: float, doubts: list[str]) -> None:
    """Warn when qform and sform place the same voxel apart."""
    header = image.header
    if int(header["qform_code"]) <= 0 or int(header["sform_code"]) <= 0:
        return
    size = np.array(image.shape[:3]) - 1
    corners = np.array([[a, b, c, 1] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    corners[:, :3] *= size
    try:
        qform = header.get_qform()
    except ValueError:  # a quaternion longer than 1
        doubts.append("The qform is not valid; the sform was used.")
        return
    apart = (header.get_sform() - qform) @ corners.T
    distance = to_mm * float(np.linalg.norm(apart[:3], axis=0).max())
    if distance > _FORM_DISAGREEMENT_MM:
        doubts.append(f"qform and sform disagree by up to {distance:.1f} mm; the sform was used.")


def _assumed_ras(image: Any) -> np.ndarray:
    """Axes R, A, S with the header's voxel sizes, the origin at the grid's centre."""
    zooms = np.array(image.header.get_zooms()[:3], dtype=np.float64)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -zooms * (np.array(image.shape[:3]) - 1) / 2
    return affine
