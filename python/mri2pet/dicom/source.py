"""The T1 series that a volume was read from, with all that writing beside it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nibabel
    import numpy as np
    import pydicom


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One slice: its instance's header, and where it lies."""

    dataset: pydicom.Dataset
    """Header of the instance without pixel data; shared by all frames of an Enhanced instance."""
    frame_number: int | None
    """From 1 within an Enhanced instance; None for a classic one."""
    position: tuple[str, str, str]
    """ImagePositionPatient (mm, LPS+) in the source's own digits."""


@dataclass(frozen=True, eq=False)
class Source:
    """One T1 series, its slices in order of position along the normal of the slices."""

    frames: tuple[SourceFrame, ...]
    """Frame k is slice k of the volume."""
    orientation: tuple[str, ...]
    """The six numbers of ImageOrientationPatient in the source's own digits."""
    pixel_spacing: tuple[str, str]
    """Row spacing and column spacing (mm) in the source's own digits."""
    slice_spacing_mm: float
    """(last position - first) / (slices - 1)."""
    rows: int
    columns: int
    affine: np.ndarray
    """[4, 4] from the indices of an array [column, row, slice] to RAS+ in mm."""
    frame_of_reference_uid: str | None
    """None where the source has none."""
    took: str
    """The sentence that says which series was taken, and why not the others."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DicomT1:
    """A T1 read from DICOM."""

    image: nibabel.Nifti1Image
    """Array [column, row, slice] float32 in the scanner's units, affine to RAS+ in mm."""
    source: Source
