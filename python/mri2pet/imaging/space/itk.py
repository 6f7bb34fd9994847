"""Between this package (RAS+ mm, numpy) and ITK (LPS mm, ANTs images and files).

ITK counts x to the left and y to the back, and its transforms map points of the fixed image
to points of the moving one. This is the only module that knows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mri2pet.imaging.space.volume import Volume

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])

_START = "start.mat"
#: Seed of ITK's jittered sampling, the same for every registration.
RANDOM_SEED = 20170301


def load_ants() -> Any:
    """The module `ants`, with one ITK thread unless the environment names a number.

    ITK's threads add up the sums of a metric in the order in which they finish, so that with two
    of them the same input is registered differently by up to hundredths of a millimetre and the
    synthetic PET differs as much as its samples do. ITK reads the number once, at its first use
    in the process: a host that used ANTs before sets ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS itself.
    """
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    import ants

    return ants


def to_ants(volume: Volume) -> Any:
    """An ANTs image (float32) on the volume's own grid.

    The axes are made exactly orthonormal (polar decomposition), which moves nothing on the
    orthogonal grids that reading lets through.
    """
    ants = load_ants()
    axes = volume.affine[:3, :3] / volume.voxel_size_mm
    left, _, right = np.linalg.svd(axes)
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=tuple(_FLIP[:3, :3] @ volume.affine[:3, 3]),
        spacing=tuple(volume.voxel_size_mm),
        direction=_FLIP[:3, :3] @ left @ right,
    )


def affine_of(image: Any) -> np.ndarray:
    """Voxel index → RAS mm of an ANTs image, 4 x 4."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.direction) * np.asarray(image.spacing)
    affine[:3, 3] = image.origin
    return _FLIP @ affine


def moving_from_fixed(transform: Any) -> np.ndarray:
    """RAS 4 x 4 of an ITK affine: fixed mm → moving mm.

    ITK stores y = A (x - c) + c + t with A and t as parameters and c as fixed parameters.
    """
    parameters = np.asarray(transform.parameters, dtype=np.float64)
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    lps[:3, 3] = parameters[9:] + centre - lps[:3, :3] @ centre
    return _FLIP @ lps @ _FLIP


def itk_transform(moving_from_fixed_ras: np.ndarray) -> Any:
    """The ITK affine that maps fixed mm to moving mm as this RAS 4 x 4 does."""
    ants = load_ants()
    lps = _FLIP @ moving_from_fixed_ras @ _FLIP
    return ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=lps[:3, :3],
        offset=lps[:3, 3],
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for the files through which ANTs passes transforms."""
    with tempfile.TemporaryDirectory(prefix="mri2pet-") as folder:
        yield Path(folder)


@contextmanager
def seeded() -> Iterator[None]:
    """Give `ants.registration` this package's seed, and then its former one back."""
    config = load_ants().config
    former = config._random_seed
    config._random_seed = RANDOM_SEED
    try:
        yield
    finally:
        config._random_seed = former


@dataclass(frozen=True)
class Schedule:
    """Resolution levels of a registration, coarse to fine."""

    iterations: tuple[int, ...]
    shrink: tuple[int, ...]
    smoothing_voxels: tuple[int, ...]


def register_linear(
    fixed: Any,
    moving: Any,
    fixed_mask: Any | None,
    moving_from_fixed_ras: np.ndarray,
    schedule: Schedule,
    transform: Literal["Rigid", "Affine"] = "Affine",
) -> np.ndarray:
    """Refine an affine (12 parameters) or a rigid transform (6) by Mattes mutual information.

    The same input gives the same result to the bit, with one ITK thread (`load_ants`).

    Args:
        fixed_mask: where the metric looks; everywhere when None.

    Returns:
        RAS 4 x 4, fixed mm → moving mm.
    """
    kind = _Kind(f"{transform}[0.25]", sampling=",regular,0.2", convergence="1e-6,10")
    with scratch() as folder:
        _register(folder, kind, fixed, moving, fixed_mask, moving_from_fixed_ras, schedule)
        return moving_from_fixed(load_ants().read_transform(str(folder / "0GenericAffine.mat")))


def warp_to_moving(
    fixed: Any,
    moving: Any,
    fixed_mask: Any,
    moving_from_fixed_ras: np.ndarray,
    image: Any,
    schedule: Schedule,
) -> np.ndarray:
    """Register deformably (SyN, Mattes) from an affine, and bring a fixed-space image back.

    Avants et al. 2008, Medical Image Analysis 12:26. The displacements have the resolution of the
    schedule's last level.

    Returns:
        `image` on the moving image's grid, linearly interpolated, float32 `[X, Y, Z]`.
    """
    kind = _Kind("SyN[0.2,3,0]", sampling="", convergence="1e-7,8")
    with scratch() as folder:
        _register(folder, kind, fixed, moving, fixed_mask, moving_from_fixed_ras, schedule)
        back = load_ants().apply_transforms(
            moving,
            image,
            transformlist=[str(folder / _START), str(folder / "1InverseWarp.nii.gz")],
            whichtoinvert=[True, False],
            interpolator="linear",
        )
        return back.numpy()


@dataclass(frozen=True)
class _Kind:
    """A transform, how its metric samples the fixed image, and when a level is at its end."""

    transform: str
    sampling: str
    convergence: str


def _register(
    folder: Path,
    kind: _Kind,
    fixed: Any,
    moving: Any,
    fixed_mask: Any | None,
    moving_from_fixed_ras: np.ndarray,
    schedule: Schedule,
) -> None:
    """Write the transforms of one seeded registration into a folder.

    By antsRegistration itself, with the metric (32 bins) and steps of `ants.registration`, which
    would also warp both images at the end and asks SyN for a level at full resolution.
    """
    ants = load_ants()
    from ants.internal import get_pointer_string

    start = str(folder / _START)
    ants.write_transform(itk_transform(moving_from_fixed_ras), start)
    mask = None if fixed_mask is None else fixed_mask != 0
    images = f"{get_pointer_string(fixed)},{get_pointer_string(moving)}"
    levels = ["x".join(map(str, part)) for part in (
        schedule.iterations, schedule.shrink, schedule.smoothing_voxels
    )]  # fmt: skip
    options = {
        "--dimensionality": "3",
        "--initial-moving-transform": start,
        "--metric": f"mattes[{images},1,32{kind.sampling}]",
        "--transform": kind.transform,
        "--convergence": f"[{levels[0]},{kind.convergence}]",
        "--shrink-factors": levels[1],
        "--smoothing-sigmas": levels[2],
        "--use-histogram-matching": "0",
        "--collapse-output-transforms": "1",
        "--output": f"{folder}{os.sep}",
        "--masks": f"[{'NA' if mask is None else get_pointer_string(mask)},NA]",
        "--float": "1",
        "--random-seed": str(RANDOM_SEED),
    }
    ants.registration([word for option in options.items() for word in option], None)
