"""ITK's registration, bias field and windowed sinc: by ANTs, each call in a process of its own.

ITK reads once in a process how many threads it may use, and not every step may use the same
number. The threads of a linear registration add up the sums of its metric in the order in which
they finish, so that with two of them the same input is registered differently by up to hundredths
of a millimetre, and the synthetic PET differs as much as its samples do: one thread. What SyN and
N4 find depends on the number of threads, but not on their order: two, on every machine. So the
same input gives the same result to the bit, whatever the host does with ANTs or its environment;
the host's interpreter lock is free meanwhile, and a crash of ITK does not end the host.

`calls` and `geometry` load ANTs, so only the other process imports them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mri2pet.imaging.space.itk.process import call, start, stop
from mri2pet.imaging.space.itk.schedule import Schedule
from mri2pet.imaging.space.volume import Volume

__all__ = [
    "Schedule",
    "bias_field",
    "register_linear",
    "start",
    "stop",
    "syn_to_fixed",
    "warp_to_moving",
    "windowed_sinc",
]

#: Threads of ITK: where the order in which they finish counts, and where it does not.
_ORDER_COUNTS = 1
_REPEATABLE = 2


def register_linear(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume | None,
    moving_from_fixed: np.ndarray,
    schedule: Schedule,
    transform: Literal["Rigid", "Affine"] = "Affine",
) -> np.ndarray:
    """Refine an affine (12 parameters) or a rigid transform (6) by Mattes mutual information.

    Args:
        fixed_mask: where the metric looks; everywhere when None.
        moving_from_fixed: RAS 4 x 4 to start from, fixed mm → moving mm.

    Returns:
        RAS 4 x 4, fixed mm → moving mm.

    Raises:
        RuntimeError: ITK's, where the images cannot be registered.
        ProcessLost: the process was ended from outside, twice.
    """
    arguments = (fixed, moving, fixed_mask, moving_from_fixed, schedule, transform)
    matrix: np.ndarray = call("register_linear", arguments, _ORDER_COUNTS)
    return matrix


def warp_to_moving(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume,
    moving_from_fixed: np.ndarray,
    image: Volume,
    schedule: Schedule,
) -> np.ndarray:
    """Register deformably (SyN, Mattes) from an affine, and bring a fixed-space image back.

    Avants et al. 2008, Medical Image Analysis 12:26. The displacements have the resolution of the
    schedule's last level.

    Returns:
        `image` on the moving image's grid, linearly interpolated, float32 `[X, Y, Z]`.

    Raises:
        RuntimeError, ProcessLost: as `register_linear`.
    """
    arguments = (fixed, moving, fixed_mask, moving_from_fixed, image, schedule)
    warped: np.ndarray = call("warp_to_moving", arguments, _REPEATABLE)
    return warped


def syn_to_fixed(fixed: Volume, moving: Volume, image: Volume) -> np.ndarray:
    """Register an image to another as `ants.registration` does ("SyN"), and take a third along.

    An affine comes first, so this has one thread.

    Args:
        image: in the space of `moving`; on a grid of its own.

    Returns:
        `image`, warped into the space of `fixed`, on its own grid: float32 `[X, Y, Z]`.

    Raises:
        RuntimeError, ProcessLost: as `register_linear`.
    """
    warped: np.ndarray = call("syn_to_fixed", (fixed, moving, image), _ORDER_COUNTS)
    return warped


def bias_field(
    volume: Volume, mask: np.ndarray, iterations: tuple[int, ...], shrink: int, knots_mm: float
) -> np.ndarray:
    """N4's multiplicative field (Tustison et al. 2010, IEEE TMI 29:1310), as ITK gives it.

    Args:
        volume: values ≥ 0.
        mask: bool `[X, Y, Z]`, where the field is estimated.
        iterations: at most this many per resolution level.
        shrink: by this factor the image is made coarser for the estimate.
        knots_mm: between the spline's knots on the first level; half as far on each next one.

    Returns:
        float32 `[X, Y, Z]` on the volume's grid.

    Raises:
        RuntimeError, ProcessLost: as `register_linear`.
    """
    arguments = (volume, mask, iterations, shrink, knots_mm)
    field: np.ndarray = call("bias_field", arguments, _REPEATABLE)
    return field


def windowed_sinc(
    values: np.ndarray, index_map: np.ndarray, target_shape: tuple[int, int, int]
) -> np.ndarray:
    """Values at other places, by Hamming-windowed sinc of radius 3.

    Args:
        values: float32 `[X, Y, Z]`.
        index_map: 4 x 4, index of the target → index of `values`.

    Returns:
        float32 of the target's shape.

    Raises:
        RuntimeError, ProcessLost: as `register_linear`.
    """
    moved: np.ndarray = call("windowed_sinc", (values, index_map, target_shape), _REPEATABLE)
    return moved
