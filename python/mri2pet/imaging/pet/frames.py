"""PET scans of several frames: read, motion-corrected, averaged over time.

Every frame that counts (`frame_times`) is registered rigidly to the first one with signal, then
to the mean of the frames so aligned; the temporal mean of the raw frames, weighted by their
duration and each interpolated once, is the static PET.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files.kinds import PET
from mri2pet.imaging.files.reading import read_image
from mri2pet.imaging.pet.frame_times import FrameChoice, choose_frames, read_sidecar
from mri2pet.imaging.space.volume import Volume

MIN_SIGNAL = 0.8
OnFrame = Callable[[int, int], None]


@dataclass(frozen=True)
class PetSeries:
    """The frames of one PET scan that count.

    Attributes:
        name: the file, for messages.
        frames: float32 `[T, X, Y, Z]`, in the file's own unit.
        affine: 4 x 4, voxel index → RAS mm, of every frame; the sform when the file has one.
        seconds: duration of each frame; None for equal ones.
        numbers: of each frame in the file, from 0; None for 0, 1, ...
        warnings: what was mended, chosen or assumed, one sentence each.
    """

    name: str
    frames: np.ndarray
    affine: np.ndarray
    seconds: tuple[float, ...] | None = None
    numbers: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()

    def frame(self, index: int) -> Volume:
        """One frame as a volume."""
        return Volume(self.frames[index], self.affine, "raw PET")


@dataclass(frozen=True)
class FrameMotion:
    """How the head had moved in a frame, relative to the first frame that counts.

    Attributes:
        frame: its number in the file, from 0.
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


def read_pet(source: Any, *, assume_ras: bool = False) -> PetSeries:
    """Read the frames of a PET that make a static one, see `frame_times.choose_frames`.

    Args:
        source: path of a NIfTI, `.mgz` or Analyze image, or a nibabel image. The JSON sidecar
            beside a file gives the times of its frames.
        assume_ras: as in `read_image`.

    Raises:
        InputError: what `read_image` raises, or a frame without signal; one sentence.
    """
    sidecar = read_sidecar(source)
    chosen: list[FrameChoice] = []

    def choose(count: int) -> tuple[int, ...]:
        try:
            chosen.append(choose_frames(count, sidecar))
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        return chosen[0].frames

    image = read_image(source, PET, assume_ras=assume_ras, choose=choose)
    (choice,) = chosen
    for number, frame in zip(choice.frames, image.frames, strict=True):
        if not (frame > 0).any():
            which = f"frame {number + 1}" if len(choice.frames) > 1 else "it"
            raise InputError(
                f"{image.name}: {which} is empty (no signal above 0); leave it out or export again."
            )
    return PetSeries(
        image.name,
        image.frames,
        image.placed.affine,
        choice.seconds,
        choice.frames,
        (*choice.told, *image.warnings),
    )


def static_pet(series: PetSeries, on_frame: OnFrame | None = None) -> StaticPet:
    """Correct the motion between the frames and average them.

    Args:
        series: what `read_pet` returned.
        on_frame: called with (registrations done, registrations in all).

    Returns:
        Frames of the whole scan add up, each by its duration. Where a moved frame does not
        reach, the mean is over the frames that do.
    """
    count = len(series.frames)
    if count == 1:
        return StaticPet(series.frame(0), np.eye(4)[None], ())
    from mri2pet.imaging.pet.to_t1 import register_rigid, smooth_frame

    raw = [series.frame(i) for i in range(count)]
    seconds = series.seconds or (1.0,) * count
    seen = [Volume(smooth_frame(v.data, v.voxel_size_mm), v.affine) for v in raw]
    total, done = 2 * count - 1, 0

    def align(target: Volume, index: int, start: np.ndarray) -> np.ndarray:
        nonlocal done
        found = register_rigid(target, seen[index], start)
        done += 1
        if on_frame is not None:
            on_frame(done, total)
        return found

    first = _first_with_signal(seen, seconds)
    to_first = {first: np.eye(4)}
    for i in (*range(first + 1, count), *range(first - 1, -1, -1)):
        to_first[i] = align(seen[first], i, to_first[i - 1 if i > first else i + 1])
    mean = _aligned_mean(seen, [to_first[i] for i in range(count)], seconds)
    to_mean = np.stack([align(mean, i, to_first[i]) for i in range(count)])
    volume = _aligned_mean(raw, to_mean, seconds)
    return StaticPet(volume, to_mean, _motion(seen[0], to_mean, series.numbers or range(count)))


def _first_with_signal(frames: list[Volume], seconds: Sequence[float]) -> int:
    """The first frame that shows what the scan shows.

    A frame's signal is the correlation of its smoothed values with the mean over the scan; early
    and short frames hold noise and little else. It must be 0.8 of the best one's.
    """
    mean = np.average([frame.data for frame in frames], axis=0, weights=seconds)
    signal = [float(np.corrcoef(frame.data.ravel(), mean.ravel())[0, 1]) for frame in frames]
    return next(i for i, found in enumerate(signal) if found >= MIN_SIGNAL * max(signal))


def _aligned_mean(
    volumes: list[Volume], target_from_volume: Any, seconds: Sequence[float]
) -> Volume:
    """Mean of the volumes on the grid of the first, each interpolated by cubic splines."""
    from mri2pet.imaging.space.resampling import resample

    grid = volumes[0]
    total = np.zeros(grid.shape, dtype=np.float64)
    weight = np.zeros(grid.shape, dtype=np.float64)
    everywhere = np.ones(grid.shape, dtype=np.float32)
    for volume, transform, duration in zip(volumes, target_from_volume, seconds, strict=True):
        back = np.linalg.inv(transform)
        place = (volume.affine, grid.shape, grid.affine, back)
        covered = resample(everywhere, *place) > 0.5
        total += np.where(covered, duration * resample(volume.data, *place, "cubic"), 0.0)
        weight += duration * covered
    mean = total / np.where(weight > 0, weight, 1.0)
    return Volume(mean.astype(np.float32), grid.affine, grid.unit)


def _motion(
    first: Volume, mean_from_frame: np.ndarray, numbers: Sequence[int]
) -> tuple[FrameMotion, ...]:
    """Motion of every frame relative to the first: where a point of its head has gone."""
    from mri2pet.imaging.pet.to_t1 import centre_of_mass_mm

    centre = centre_of_mass_mm(first)
    return tuple(
        rigid_motion(number, np.linalg.inv(transform) @ mean_from_frame[0], centre)
        for number, transform in zip(numbers, mean_from_frame, strict=True)
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
