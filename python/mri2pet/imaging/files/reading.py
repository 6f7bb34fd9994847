"""Reading an image of any kind from a file, and refusing what cannot be one."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files import refusals
from mri2pet.imaging.files.kinds import T1, ImageKind
from mri2pet.imaging.files.mending import mend
from mri2pet.imaging.files.opening import DAMAGED, opened, reason, refusing_io, truncated
from mri2pet.imaging.space.subject_grid import SubjectGrid
from mri2pet.imaging.space.volume import Volume, reorder


@dataclass(frozen=True, eq=False)
class Image:
    """An image that was read and found usable.

    Attributes:
        name: the file, or what stands for it in messages.
        frames: float32 `[T, X, Y, Z]` in the stored axis order, finite; T is 1 for most kinds.
        grid: the affine (mm), and the header fields that an image on the same grid must repeat;
            None where the header does not say where its axes point.
        warnings: what was mended or is doubtful, one sentence each.
    """

    name: str
    frames: np.ndarray
    grid: SubjectGrid | None
    warnings: list[str] = field(default_factory=list)

    @property
    def placed(self) -> SubjectGrid:
        """The grid of a kind that needs one."""
        assert self.grid is not None
        return self.grid

    def volume(self, unit: str = "a.u.") -> Volume:
        """The single frame."""
        return Volume(self.frames[0], self.placed.affine, unit)


@dataclass(frozen=True)
class T1Image:
    """A T1 that was read and found usable.

    Attributes:
        name: the file, or what stands for it in messages.
        volume: values `[X, Y, Z]` in the stored axis order, with the affine that nibabel
            prefers (sform before qform), in mm.
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


def read_image(
    source: Any,
    kind: ImageKind,
    *,
    assume_ras: bool = False,
    choose: Callable[[int], Sequence[int]] = range,
) -> Image:
    """Read an image: NIfTI-1/2, `.mgz`, Analyze, or a nibabel image in memory.

    Args:
        source: path, or nibabel spatial image. A path is opened by content, whatever its name.
        kind: what is expected of it.
        assume_ras: take the stored axes as R, A, S about the grid's centre when the header
            does not say where they point; ignored when it does.

    Raises:
        InputError: one sentence with the file, what is wrong and what to do.
    """
    with opened(source) as (image, name):
        shape = refusals.frames_shape(name, tuple(map(int, image.shape)), kind)
        kept = list(choose(shape[0]))
        doubts: list[str] = []
        values = _values(image, name, shape, doubts)
        values = values if len(kept) == len(values) else values[kept]
        grid = SubjectGrid.of(image, assume_ras=assume_ras, doubts=doubts)
    if grid is None and kind.needs_place:
        also = (
            ", or, to synthesize and preprocess, pass --assume-ras if its axes run right, "
            "anterior, superior"
        )
        raise InputError(
            f"{name}: its header does not say which side is left (no qform or sform code); "
            f"give {kind.name} whose header does{also if kind.head else ''}."
        )
    refusals.check_values(name, values, kept, kind)
    if grid is not None:
        refusals.check_affine(name, shape[1:], grid.affine, kind)
        if kind is T1:
            refusals.check_t1(name, values[0], grid)
    mended = mend(name, values, kind)
    return Image(name, mended.values, grid, [*doubts, *mended.warnings])


def read_t1(source: Any, *, assume_ras: bool = False) -> T1Image:
    """Read a T1, as `read_image` does.

    Raises:
        InputError: one sentence with the file, what is wrong and what to do.
    """
    image = read_image(source, T1, assume_ras=assume_ras)
    volume = image.volume()
    digest = fingerprint(volume.data, volume.affine)
    return T1Image(image.name, volume, image.placed, digest, image.warnings)


def file_sha256(path: Path | str) -> str:
    """SHA-256 of the bytes of an image: of header and image one after the other in a pair.

    Raises:
        InputError: it cannot be read.
    """
    with opened(path) as (image, name), refusing_io(name):
        files = (holder.filename for holder in image.file_map.values())
        names = sorted({Path(file) for file in files if file is not None} or {Path(path)})
        present = [file for file in names if file.exists()]
        return hashlib.sha256(b"".join(file.read_bytes() for file in present)).hexdigest()


def _values(
    image: Any, name: str, shape: tuple[int, int, int, int], doubts: list[str]
) -> np.ndarray:
    """Real numbers `[T, X, Y, Z]`, in the precision that holds them.

    Raises:
        InputError: colours or complex numbers, truncated data.
    """
    kind = np.dtype(image.get_data_dtype())
    if kind.fields is not None or kind.kind not in "iufb":
        what = "colours" if kind.fields is not None else f"{kind.name} numbers"
        raise InputError(
            f"{name}: holds {what}, not one number per voxel; export its magnitude image."
        )
    try:
        with np.errstate(all="ignore"):
            values = np.asanyarray(image.dataobj)
            _check_end(image, doubts)
    except MemoryError:
        raise InputError(
            f"{name}: its {' x '.join(map(str, shape[1:]))} voxels do not fit into the memory; "
            "crop or resample it, or use a machine with more memory."
        ) from None
    except OSError as error:
        if error.errno is not None:
            raise InputError(f"{name}: {reason(error)}.") from None
        raise InputError(truncated(name)) from None
    except (*DAMAGED, ValueError, TypeError):
        raise InputError(truncated(name)) from None
    if values.dtype.itemsize > 4 and not _fits_float32(values):
        values = values.astype(np.float64)
    else:
        values = values.astype(np.float32, copy=False)
    return np.ascontiguousarray(np.moveaxis(values.reshape((*shape[1:], shape[0])), 3, 0))


def _check_end(image: Any, doubts: list[str]) -> None:
    """Read on to the end of a gzip file, where its checksum is compared.

    Other bytes behind a whole one are told, as gzip itself does.
    """
    holder = image.file_map.get("image")
    stream = holder.fileobj if holder is not None else None
    if isinstance(stream, gzip.GzipFile):
        try:
            stream.read(1)
        except gzip.BadGzipFile as error:
            if "Not a gzipped file" not in str(error):
                raise
            doubts.append("Behind the gzip data stand other bytes, which were not read.")


def _fits_float32(values: np.ndarray) -> bool:
    """Whether no finite value overflows or is lost in float32."""
    largest = 0.0
    for part in values:  # a whole copy would double the memory
        sizes = np.abs(part[np.isfinite(part)])
        largest = max(largest, float(sizes.max())) if sizes.size else largest
    return largest == 0 or 1e-30 < largest < 1e38


def fingerprint(values: np.ndarray, affine: np.ndarray) -> str:
    """SHA-256 of values and affine in RAS order; the affine counts to 0.0001 mm."""
    ordered, ordered_affine, _ = reorder(values, affine)
    digest = hashlib.sha256()
    digest.update(np.array(ordered.shape, dtype="<i8").tobytes())
    digest.update((np.round(ordered_affine, 4) + 0.0).astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(ordered, dtype="<f4").tobytes())
    return digest.hexdigest()
