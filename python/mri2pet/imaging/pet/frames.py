"""PET scans of several frames: read, motion-corrected, averaged over time.

Every frame is registered rigidly to the first one, then to the mean of the frames so
aligned; the temporal mean of the raw frames, each interpolated once, is the static PET.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.space.volume import Volume

MIN_SLICES = 8
MAX_FRAMES = 200
OnFrame = Callable[[int, int], None]


@dataclass(frozen=True)
class PetSeries:
    """The frames of one PET scan.

    Attributes:
        name: the file, for messages.
        frames: float32 `[T, X, Y, Z]`, in the file's own unit.
        affine: 4 x 4, voxel index → RAS mm, of every frame; the sform when the file has one.
    """

    name: str
    frames: np.ndarray
    affine: np.ndarray

    def frame(self, index: int) -> Volume:
        """One frame as a volume."""
        return Volume(self.frames[index], self.affine, "raw PET")


@dataclass(frozen=True)
class FrameMotion:
    """How the head had moved in a frame, relative to the first frame.

    Attributes:
        frame: from 0.
        translation_mm: displacement of the head's centre of mass along R, A, S.
        rotation_deg: rotations about R, A, S (extrinsic Euler angles, x then y then z).
        displacement_mm: root mean square displacement in a sphere of 80 mm about that centre
            (Jenkinson 1999, FMRIB technical report TR99MJ1).
    """

    frame: int
    translation_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    displacement_mm: float

    def as_dict(self) -> dict[str, Any]:
        """Rounded to 0.001 mm and degrees, for JSON."""
        return {
            "frame": self.frame,
            "translation_mm": [round(v, 3) for v in self.translation_mm],
            "rotation_deg": [round(v, 3) for v in self.rotation_deg],
            "displacement_mm": round(self.displacement_mm, 3),
        }


@dataclass(frozen=True, eq=False)
class StaticPet:
    """The temporal mean of the aligned frames.

    Attributes:
        volume: float32 `[X, Y, Z]` on the grid of the first frame, in the file's own unit.
        mean_from_frame: `[T, 4, 4]`, RAS mm of a frame → RAS mm of `volume`.
        motion: one entry per frame; empty for a scan of one frame.
    """

    volume: Volume
    mean_from_frame: np.ndarray
    motion: tuple[FrameMotion, ...]


def read_pet(source: Any) -> PetSeries:
    """Read a PET of one or several frames.

    Args:
        source: path of a NIfTI, `.mgz` or Analyze image, or a nibabel image.

    Raises:
        InputError: missing, unreadable, truncated, no image of one or several 3D frames, a
            single slice, values that are not finite, or a frame without signal; one sentence.
    """
    image, name = _open(source)
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    sizes = " x ".join(map(str, image.shape))
    if len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= MAX_FRAMES):
        raise InputError(
            f"{name}: has the shape {sizes}; a PET has three axes, or four with 1 to "
            f"{MAX_FRAMES} frames."
        )
    if min(shape[:3]) < MIN_SLICES:
        raise InputError(
            f"{name}: has {min(shape[:3])} slices along one axis ({sizes} voxels), at least "
            f"{MIN_SLICES} are needed; give the whole PET volume."
        )
    frames = _values(image, name).reshape(shape if len(shape) == 4 else (*shape, 1))
    frames = np.ascontiguousarray(np.moveaxis(frames, 3, 0), dtype=np.float32)
    _refuse_without_signal(name, frames)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{name}: its affine is not invertible; export the PET again.")
    return PetSeries(name, frames, affine)


def static_pet(series: PetSeries, on_frame: OnFrame | None = None) -> StaticPet:
    """Correct the motion between the frames and average them.

    Args:
        series: what `read_pet` returned.
        on_frame: called with (registrations done, registrations in all).

    Returns:
        Frames of the whole scan add up with equal weights. Where a moved frame does not reach,
        the mean is over the frames that do.
    """
    count = len(series.frames)
    if count == 1:
        return StaticPet(series.frame(0), np.eye(4)[None], ())
    from mri2pet.imaging.pet.to_t1 import register_rigid, smooth_frame

    raw = [series.frame(i) for i in range(count)]
    seen = [Volume(smooth_frame(v.data, v.voxel_size_mm), v.affine) for v in raw]
    total, done = 2 * count - 1, 0

    def align(target: Volume, index: int, start: np.ndarray) -> np.ndarray:
        nonlocal done
        found = register_rigid(target, seen[index], start)
        done += 1
        if on_frame is not None:
            on_frame(done, total)
        return found

    to_first = [np.eye(4)]
    for i in range(1, count):
        to_first.append(align(seen[0], i, to_first[-1]))
    mean = _aligned_mean(seen, to_first)
    to_mean = np.stack([align(mean, i, to_first[i]) for i in range(count)])
    volume = _aligned_mean(raw, to_mean)
    return StaticPet(volume, to_mean, _motion(seen[0], to_mean))


def _aligned_mean(volumes: list[Volume], target_from_volume: Any) -> Volume:
    """Mean of the volumes on the grid of the first, each interpolated by cubic splines."""
    from mri2pet.imaging.space.resampling import resample

    grid = volumes[0]
    total = np.zeros(grid.shape, dtype=np.float64)
    weight = np.zeros(grid.shape, dtype=np.float64)
    everywhere = np.ones(grid.shape, dtype=np.float32)
    for volume, transform in zip(volumes, target_from_volume, strict=True):
        back = np.linalg.inv(transform)
        place = (volume.affine, grid.shape, grid.affine, back)
        covered = resample(everywhere, *place) > 0.5
        total += np.where(covered, resample(volume.data, *place, "cubic"), 0.0)
        weight += covered
    mean = total / np.maximum(weight, 1.0)
    return Volume(mean.astype(np.float32), grid.affine, grid.unit)


def _motion(first: Volume, mean_from_frame: np.ndarray) -> tuple[FrameMotion, ...]:
    """Motion of every frame relative to the first: where a point of its head has gone."""
    from mri2pet.imaging.pet.to_t1 import centre_of_mass_mm

    centre = centre_of_mass_mm(first)
    return tuple(
        rigid_motion(i, np.linalg.inv(transform) @ mean_from_frame[0], centre)
        for i, transform in enumerate(mean_from_frame)
    )


def rigid_motion(frame: int, frame_from_first: np.ndarray, centre_mm: np.ndarray) -> FrameMotion:
    """The figures of a rigid 4 x 4, mm in the first frame → mm in this one."""
    from scipy.spatial.transform import Rotation

    matrix = frame_from_first[:3, :3]
    shift = frame_from_first[:3, 3] + matrix @ centre_mm - centre_mm
    x, y, z = Rotation.from_matrix(matrix).as_euler("xyz", degrees=True)
    spread = 80.0**2 / 5.0 * float(((matrix - np.eye(3)) ** 2).sum())
    return FrameMotion(
        frame,
        (float(shift[0]), float(shift[1]), float(shift[2])),
        (float(x), float(y), float(z)),
        float(np.sqrt(spread + shift @ shift)),
    )


def _open(source: Any) -> tuple[Any, str]:
    import nibabel
    from nibabel.spatialimages import HeaderDataError, SpatialImage

    if isinstance(source, SpatialImage):
        return source, str(source.get_filename() or "PET in memory")
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the PET image in it.")
    try:
        image = nibabel.load(path)
    except (EOFError, zlib.error):
        raise InputError(_truncated(path)) from None
    except (nibabel.filebasedimages.ImageFileError, HeaderDataError, OSError, ValueError) as error:
        if "end-of-stream" in str(error):
            raise InputError(_truncated(path)) from None
        raise InputError(
            f"{path}: cannot be read as an image; give NIfTI, .mgz or Analyze."
        ) from None
    if not isinstance(image, SpatialImage):
        raise InputError(f"{path}: holds no voxels; give a PET image.")
    return image, str(path)


def _values(image: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except (EOFError, OSError, ValueError, TypeError, zlib.error):
        raise InputError(_truncated(name)) from None


def _truncated(name: Any) -> str:
    return f"{name}: is truncated or damaged (its data end early); copy or export it again."


def _refuse_without_signal(name: str, frames: np.ndarray) -> None:
    for i, frame in enumerate(frames):
        which = f"frame {i + 1} of {len(frames)}" if len(frames) > 1 else "it"
        if not np.isfinite(frame).all():
            raise InputError(
                f"{name}: {which} holds values that are not finite; export the PET again."
            )
        if not (frame > 0).any() or float(frame.max()) == float(frame.min()):
            raise InputError(f"{name}: {which} is empty (no signal); leave it out or export again.")
