"""What a process of `server` does for its host, by ANTs; the functions of `itk` document it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ants
import numpy as np
from ants.internal import get_pointer_string

from mri2pet.imaging.space.itk.geometry import itk_transform, moving_from_fixed, to_ants
from mri2pet.imaging.space.itk.schedule import Schedule
from mri2pet.imaging.space.volume import Volume

#: Seed of ITK's jittered sampling, the same for every registration.
RANDOM_SEED = 20170301

_START = "start.mat"


def register_linear(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume | None,
    start: np.ndarray,
    schedule: Schedule,
    transform: Literal["Rigid", "Affine"],
) -> np.ndarray:
    kind = _Kind(f"{transform}[0.25]", sampling=",regular,0.2", convergence="1e-6,10")
    with _registered(kind, to_ants(fixed), to_ants(moving), fixed_mask, start, schedule) as folder:
        return moving_from_fixed(ants.read_transform(str(folder / "0GenericAffine.mat")))


def warp_to_moving(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume,
    start: np.ndarray,
    image: Volume,
    schedule: Schedule,
) -> np.ndarray:
    kind = _Kind("SyN[0.2,3,0]", sampling="", convergence="1e-7,8")
    target = to_ants(moving)
    with _registered(kind, to_ants(fixed), target, fixed_mask, start, schedule) as folder:
        back = ants.apply_transforms(
            target,
            to_ants(image),
            transformlist=[str(folder / _START), str(folder / "1InverseWarp.nii.gz")],
            whichtoinvert=[True, False],
            interpolator="linear",
        )
    return _values(back)


def syn_to_fixed(fixed: Volume, moving: Volume, image: Volume) -> np.ndarray:
    ants.config._random_seed = RANDOM_SEED
    carried = to_ants(image)
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed=to_ants(fixed),
            moving=to_ants(moving),
            type_of_transform="SyN",
            outprefix=f"{folder}{os.sep}syn",
        )
        warped = ants.apply_transforms(
            fixed=carried, moving=carried, transformlist=found["fwdtransforms"]
        )
    return _values(warped)


def bias_field(
    volume: Volume, mask: np.ndarray, iterations: tuple[int, ...], shrink: int, knots_mm: float
) -> np.ndarray:
    field = ants.n4_bias_field_correction(
        to_ants(volume),
        mask=to_ants(Volume(mask, volume.affine)),
        shrink_factor=shrink,
        convergence={"iters": list(iterations), "tol": 1e-4},
        spline_param=knots_mm,
        return_bias_field=True,
    )
    return _values(field)


def windowed_sinc(
    values: np.ndarray, index_map: np.ndarray, target_shape: tuple[int, int, int]
) -> np.ndarray:
    """In index space: both images get identity geometry."""
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=index_map[:3, :3],
        offset=index_map[:3, 3],
    )
    moved = ants.apply_ants_transform_to_image(
        transform,
        ants.from_numpy(np.ascontiguousarray(values)),
        ants.from_numpy(np.zeros(target_shape, dtype=np.float32)),
        interpolation="hammingwindowedsinc",
    )
    return _values(moved)


def _values(image: Any) -> np.ndarray:
    return np.asarray(image.numpy(), dtype=np.float32)


@dataclass(frozen=True)
class _Kind:
    """A transform, how its metric samples the fixed image, and when a level is at its end."""

    transform: str
    sampling: str
    convergence: str


@contextmanager
def _registered(
    kind: _Kind,
    fixed: Any,
    moving: Any,
    fixed_mask: Volume | None,
    start: np.ndarray,
    schedule: Schedule,
) -> Iterator[Path]:
    """A folder that holds the transforms of one seeded registration.

    By antsRegistration itself, with the metric (32 bins) and steps of `ants.registration`, which
    would also warp both images at the end and asks SyN for a level at full resolution.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ants.write_transform(itk_transform(start), str(folder / _START))
        mask = None if fixed_mask is None else to_ants(fixed_mask) != 0
        images = f"{get_pointer_string(fixed)},{get_pointer_string(moving)}"
        levels = ["x".join(map(str, part)) for part in (
            schedule.iterations, schedule.shrink, schedule.smoothing_voxels
        )]  # fmt: skip
        options = {
            "--dimensionality": "3",
            "--initial-moving-transform": str(folder / _START),
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
        yield folder
