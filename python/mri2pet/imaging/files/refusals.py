"""What makes an image unusable, each with its sentence.

A sentence names the file, says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files.kinds import ImageKind
from mri2pet.imaging.space.subject_grid import HEAD_MM, SubjectGrid, holds_a_head
from mri2pet.imaging.space.volume import axis_cosines

MAX_VOXEL_MM = 4.0
MAX_AXIS_COSINE = 1e-3
MIN_DISTINCT_VALUES = 16
MAX_FRAMES = 200

# What is smaller or larger than this cannot be a part of a head either.
_SMALLEST_MM, _LARGEST_MM = 40.0, 2000.0
_OTHER_UNITS = {"metres": 1000.0, "centimetres": 10.0, "micrometres": 0.001}


def frames_shape(name: str, shape: tuple[int, ...], kind: ImageKind) -> tuple[int, int, int, int]:
    """Number of frames and the three spatial sizes.

    Axes of one voxel after the third are no axes.

    Raises:
        InputError: fewer than three axes with more than one voxel, a single voxel along one axis
            with more axes behind it, or more frames than the kind may have.
    """
    sizes = " x ".join(map(str, shape))
    stored = shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    single = [axis for axis, n in enumerate(shape[:3]) if n == 1]
    frames_of_a_slice = kind.frames and single == [2]
    if len(single) == 1 and sum(n > 1 for n in shape) == 3 and not frames_of_a_slice:
        which = ("first", "second", "third")[single[0]]
        raise InputError(
            f"{name}: has the shape {sizes}, a single voxel along its {which} axis and another "
            f"axis behind; remove that axis and give {kind.name} with three."
        )
    if len(shape) < 3 or sum(n > 1 for n in shape[:3]) < 3:
        raise InputError(f"{name}: is 2D ({sizes} voxels); give a 3D volume.")
    if min(shape[:3]) < kind.min_voxels:
        raise InputError(
            f"{name}: has {min(shape[:3])} slices along one axis ({sizes} voxels), at least "
            f"{kind.min_voxels} are needed; give the whole volume."
        )
    frames = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    if frames > 1 and not kind.frames:
        raise InputError(
            f"{name}: has {frames} frames; give one 3D volume (extract the frame that is "
            f"{kind.name})."
        )
    if len(shape) > 4 or frames > MAX_FRAMES:
        raise InputError(
            f"{name}: has the shape {sizes}; {kind.name} has three axes, or four with 1 to "
            f"{MAX_FRAMES} frames."
        )
    x, y, z = stored[:3]
    return frames, x, y, z


def check_affine(name: str, shape: tuple[int, ...], affine: np.ndarray, kind: ImageKind) -> None:
    """Refuse broken and sheared grids, and sizes that no head has in mm.

    Raises:
        InputError: with the numbers.
    """
    matrix = affine[:3, :3]
    voxel = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(matrix)) <= 1e-9 * voxel.prod():
        raise InputError(
            f"{name}: its affine is not invertible; export the image again with a valid header."
        )
    cosine = float(np.abs(axis_cosines(affine)).max())
    if cosine > MAX_AXIS_COSINE:
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        raise InputError(
            f"{name}: its axes are not orthogonal ({angle:.2f} degrees between two of them, not "
            "90); resample it to an orthogonal grid."
        )
    view = voxel * np.array(shape)
    no_head = kind.head and (view.max() < _SMALLEST_MM or view.min() > _LARGEST_MM)
    for unit, to_mm in _OTHER_UNITS.items():
        scaled = np.diag([to_mm, to_mm, to_mm, 1.0]) @ affine
        if no_head and holds_a_head(scaled, shape):
            raise InputError(
                f"{name}: its field of view is {_sizes(view)} mm by its header, which would be a "
                f"head in {unit}; write its affine in mm, or its unit into the header."
            )


def check_values(name: str, values: np.ndarray, kept: Sequence[int], kind: ImageKind) -> None:
    """Refuse frames that hold nothing: without a finite number, or all of one.

    Args:
        values: `[T, X, Y, Z]`, not mended.
        kept: their numbers in the file, from 0, for messages.

    Raises:
        InputError: with the frame.
    """
    for number, frame in zip(kept, values, strict=True):
        which = f"frame {number + 1}" if len(kept) > 1 else "it"
        finite = frame[np.isfinite(frame)]
        if finite.size == 0:
            raise InputError(f"{name}: {which} holds no finite number; export it again.")
        low, high = float(finite.min()), float(finite.max())
        if low == high and not (kind.as_stored and low != 0):
            what = "all its voxels are zero" if low == 0 else f"all its voxels are {low:g}"
            raise InputError(f"{name}: {which} is empty ({what}); give {kind.name}.")


def check_t1(name: str, values: np.ndarray, grid: SubjectGrid) -> None:
    """Refuse coarse voxels, a small field of view, label maps and CT.

    Args:
        values: `[X, Y, Z]`, not mended.

    Raises:
        InputError: with the numbers.
    """
    voxel = np.linalg.norm(grid.affine[:3, :3], axis=0)
    if voxel.max() > MAX_VOXEL_MM * (1 + 1e-4):
        raise InputError(
            f"{name}: its voxels are {_sizes(voxel)} mm, above {MAX_VOXEL_MM:g} mm; "
            "give a 3D T1 with smaller voxels."
        )
    view = voxel * np.array(values.shape)
    if view.min() < HEAD_MM[0]:
        raise InputError(
            f"{name}: its field of view of {_sizes(view)} mm cannot hold a whole brain; "
            "give a T1 that covers it."
        )
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    sample = values[::3, ::3, ::3]
    sample = sample[np.isfinite(sample)]
    distinct = np.unique(sample).size
    if distinct < MIN_DISTINCT_VALUES:
        raise InputError(
            f"{name}: holds only {distinct} different values, like a mask or a label map; "
            "give a T1."
        )
    if low < -500 and float(np.mean(sample < -200)) > 0.05:
        raise InputError(
            f"{name}: looks like a CT (values from {low:.0f} to {high:.0f}, like Hounsfield "
            "units); give a T1-weighted MRI."
        )


def _sizes(values: np.ndarray) -> str:
    return " x ".join(f"{v:.3g}" for v in values)
