"""The grid of an input image as its header says it, to be repeated on what is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError

_QFORM_FIELDS = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM_FIELDS = ("srow_x", "srow_y", "srow_z")
_FORM_DISAGREEMENT_MM = 0.5


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
    def of(cls, image: Any, name: str, *, assume_ras: bool, doubts: list[str]) -> SubjectGrid:
        """The grid of a nibabel image.

        Raises:
            InputError: the header does not say where the axes point and `assume_ras` is off.
        """
        shape = image.shape[:3]
        header = None
        if _is_nifti(image):
            header = _nifti_fields(image.header)
            _warn_of_disagreement(image, doubts)
        if _has_orientation(image):
            return cls(shape, np.asarray(image.affine, dtype=np.float64), header)
        if not assume_ras:
            raise InputError(
                f"{name}: its header does not say which side is left (no qform or sform code); "
                "give an image that does, or pass --assume-ras if its axes run right, anterior, "
                "superior."
            )
        doubts.append("The header has no orientation; its axes were assumed to be R, A, S.")
        return cls(shape, _assumed_ras(image), header)

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
    if mat is not None:
        return mat.filename is not None and Path(mat.filename).exists()
    return not _is_analyze(image)


def _is_analyze(image: Any) -> bool:
    from nibabel.analyze import AnalyzeHeader

    return isinstance(image.header, AnalyzeHeader)


def _warn_of_disagreement(image: Any, doubts: list[str]) -> None:
    """Warn when qform and sform place the same voxel apart."""
    header = image.header
    if int(header["qform_code"]) <= 0 or int(header["sform_code"]) <= 0:
        return
    size = np.array(image.shape[:3]) - 1
    corners = np.array([[a, b, c, 1] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    corners[:, :3] *= size
    apart = (header.get_sform() - header.get_qform()) @ corners.T
    distance = float(np.linalg.norm(apart[:3], axis=0).max())
    if distance > _FORM_DISAGREEMENT_MM:
        doubts.append(f"qform and sform disagree by up to {distance:.1f} mm; the sform was used.")


def _assumed_ras(image: Any) -> np.ndarray:
    """Axes R, A, S with the header's voxel sizes, the origin at the grid's centre."""
    zooms = np.array(image.header.get_zooms()[:3], dtype=np.float64)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -zooms * (np.array(image.shape[:3]) - 1) / 2
    return affine
