"""The voxels of a stack, decoded slice by slice, and damage that no decoder tells of."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet.dicom.frames import Frame
from mri2pet.dicom.header import Instance, quiet_values, read_whole
from mri2pet.dicom.stack import Stack
from mri2pet.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

ALIKE = 0.8
UNLIKE = 0.5
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def decode(stack: Stack) -> np.ndarray:
    """Float32 `[column, row, slice]` after the modality's rescaling of each slice.

    Raises:
        InputError: a file cannot be decoded, or a slice is damaged.
    """
    values = np.empty((len(stack.frames), stack.rows, stack.columns), np.float32)
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(stack.frames):
        places.setdefault(id(frame.instance), []).append(place)
    for of_one in places.values():
        frames = [stack.frames[place] for place in of_one]
        for place, pixels in zip(of_one, _pixels(frames), strict=True):
            if pixels.shape != values.shape[1:] or not np.isfinite(pixels).all():
                raise _undecodable(frames[0].instance)
            values[place] = pixels
    _refuse_damaged(stack, values)
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _pixels(frames: list[Frame]) -> list[np.ndarray]:
    """The frames of one instance."""
    from highdicom import Image

    instance = frames[0].instance
    dataset = read_whole(instance.stored)
    try:
        # Decoders write their remarks to the standard error of Python, values and all.
        with quiet_values(), contextlib.redirect_stderr(io.StringIO()):
            image = Image.from_dataset(_little_endian(dataset), copy=False)
            return [
                image.get_frame(
                    frame.number or 1,
                    dtype=np.float64,
                    apply_real_world_transform=False,
                    apply_voi_transform=False,
                )
                for frame in frames
            ]
    except Exception:  # whatever a decoder makes of damaged bytes
        raise _undecodable(instance) from None


def _little_endian(dataset: Dataset) -> Dataset:
    """A data set that highdicom takes; big endian pixels are turned round."""
    from pydicom.uid import ExplicitVRLittleEndian

    if dataset.file_meta.TransferSyntaxUID == _BIG_ENDIAN:
        pixels: Any = dataset.pixel_array
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.set_original_encoding(False, True, dataset._character_set)
    return dataset


def _undecodable(instance: Instance) -> InputError:
    syntax = instance.header.file_meta.TransferSyntaxUID.name
    return InputError(
        f"{instance.stored.name}: its pixels cannot be decoded ({syntax}); send it uncompressed."
    )


def _refuse_damaged(stack: Stack, values: np.ndarray) -> None:
    """A lossless JPEG may be damaged and decode without an error: then a slice looks like neither
    of its neighbours, which look like each other.

    Args:
        values: `[slice, row, column]`.

    Raises:
        InputError: with the file.
    """
    near = [_correlation(a, b) for a, b in pairwise(values)]
    for place in range(1, len(values) - 1):
        if max(near[place - 1], near[place]) < UNLIKE:
            across = _correlation(values[place - 1], values[place + 1])
            if across > ALIKE:
                raise InputError(
                    f"{stack.frames[place].name}: looks damaged (its correlation with the slices "
                    f"beside it is {near[place - 1]:.2f} and {near[place]:.2f}, theirs with each "
                    f"other {across:.2f}); copy or export it again."
                )


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, 0 for a slice of one value."""
    a, b = (part.ravel().astype(np.float64) for part in (one, other))
    a -= a.mean()
    b -= b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0
