"""Reading a T1 from a file, and refusing what cannot be one."""

from __future__ import annotations

import gzip
import hashlib
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files import refusals
from mri2pet.imaging.space.subject_grid import SubjectGrid
from mri2pet.imaging.space.volume import Volume, reorder


@dataclass(frozen=True)
class T1Image:
    """A T1 that was read and found usable.

    Attributes:
        name: the file, or what stands for it in messages.
        volume: values `[X, Y, Z]` in the stored axis order, with the affine that nibabel
            prefers (sform before qform).
        grid: the header fields that an image on the same grid must repeat.
        sha256: of the values and the affine in RAS order, so neither compression nor the
            stored axis order changes it.
        warnings: what was mended or is doubtful, one sentence each.
    """

    name: str
    volume: Volume
    grid: SubjectGrid
    sha256: str
    warnings: list[str] = field(default_factory=list)


def read_t1(source: Any, *, assume_ras: bool = False) -> T1Image:
    """Read a T1: NIfTI-1/2, `.mgz`, Analyze, or a nibabel image in memory.

    Args:
        source: path, or nibabel spatial image.
        assume_ras: take the stored axes as R, A, S about the grid's centre when the header
            does not say where they point; ignored when it does.

    Raises:
        InputError: one sentence with the file, what is wrong and what to do.
    """
    image, name = open_image(source)
    doubts: list[str] = []
    values = read_values(image, name)
    grid = SubjectGrid.of(image, name, assume_ras=assume_ras, doubts=doubts)
    refusals.check_geometry(name, values.shape, grid.affine)
    values = refusals.mend(name, values, doubts)
    refusals.check_values(name, values)
    return T1Image(
        name, Volume(values, grid.affine), grid, fingerprint(values, grid.affine), doubts
    )


def open_image(source: Any) -> tuple[Any, str]:
    """A nibabel spatial image and its name for messages; voxel values are not read yet.

    Raises:
        InputError: missing, a folder, unreadable, or no image.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, SpatialImage

    if isinstance(source, SpatialImage):
        return source, str(source.get_filename() or "image in memory")
    path = Path(source)
    name = str(path)
    if not path.exists():
        raise InputError(f"{name}: there is no such file; check the path.")
    if path.is_dir():
        raise InputError(f"{name}: is a folder; give the image file in it.")
    try:
        image = nibabel.load(path)
    except (EOFError, zlib.error):
        raise InputError(refusals.truncated(name)) from None
    except (ImageFileError, HeaderDataError, OSError, ValueError) as error:
        if _ends_early(path):
            raise InputError(refusals.truncated(name)) from None
        raise InputError(
            f"{name}: is not an image that can be read ({_first_line(error)}); give NIfTI, "
            ".mgz or Analyze."
        ) from None
    if not isinstance(image, SpatialImage) or not hasattr(image, "dataobj"):
        raise InputError(f"{name}: holds no voxels; give a NIfTI, .mgz or Analyze volume.")
    return image, name


def read_values(image: Any, name: str) -> np.ndarray:
    """The single 3D frame of an image, float32 `[X, Y, Z]`.

    Raises:
        InputError: 2D, several frames, colours or complex numbers, truncated data.
    """
    shape = refusals.single_frame_shape(name, image.shape)
    kind = np.dtype(image.get_data_dtype())
    if kind.fields is not None or kind.kind not in "iufb":
        raise InputError(
            f"{name}: holds {kind.name} values, not one number per voxel; export the T1's "
            "magnitude image."
        )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            values = np.asanyarray(image.dataobj)
            return np.ascontiguousarray(values.reshape(shape), dtype=np.float32)
    except (EOFError, OSError, ValueError, zlib.error):
        raise InputError(refusals.truncated(name)) from None


def fingerprint(values: np.ndarray, affine: np.ndarray) -> str:
    """SHA-256 of values and affine in RAS order; the affine counts to 0.0001 mm."""
    ordered, ordered_affine, _ = reorder(values, affine)
    digest = hashlib.sha256()
    digest.update(np.array(ordered.shape, dtype="<i8").tobytes())
    digest.update((np.round(ordered_affine, 4) + 0.0).astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(ordered, dtype="<f4").tobytes())
    return digest.hexdigest()


def _ends_early(path: Path) -> bool:
    """Whether a gzip file ends before its first header's worth of data."""
    with gzip.open(path) as stream:
        try:
            stream.read(1024)
        except EOFError:
            return True
        except (OSError, zlib.error):
            return False
    return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
