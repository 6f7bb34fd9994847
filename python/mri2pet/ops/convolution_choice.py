"""Which form of the 3 × 3 × 3 convolution runs: a kernel, or the library's. The one switch is here.

The choice is for inference: `conv3d` in half precision on CUDA, `winograd` in float32 on the CPU;
everything else is the library's.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mri2pet.errors import UsageError
from mri2pet.ops import backend
from mri2pet.ops.conv3d import DTYPES, MOST_CHANNELS

Convolution = Literal["auto", "native", "library"]
ENVIRONMENT = "MRI2PET_CONVOLUTION"


class Tile(NamedTuple):
    """How `conv3d` divides a layer: arguments of the same names."""

    variant: int = 0
    planes: int = 0


class Layer(NamedTuple):
    """Channels in and out, and the volume."""

    cin: int
    cout: int
    shape: tuple[int, int, int]


Measurements = Mapping[tuple[int, int], Mapping[Layer, Tile]]

#: Where the kernel was measured to be right and faster than the library, by compute capability.
#: `mri2pet-bench convolution` finds the entries. 9.0: one H100, the two upper levels of `paper`, by
#: 1.1 (48 to 48 channels) to 2.6 times (12 to 8).
MEASURED: Measurements = {
    (9, 0): {
        Layer(1, 8, (32, 128, 128)): Tile(1, 4),
        Layer(8, 8, (32, 128, 128)): Tile(1, 0),
        Layer(24, 24, (32, 128, 128)): Tile(0, 0),
        Layer(24, 12, (32, 128, 128)): Tile(0, 0),
        Layer(12, 8, (32, 128, 128)): Tile(1, 4),
        Layer(8, 8, (16, 64, 64)): Tile(1, 0),
        Layer(8, 16, (16, 64, 64)): Tile(1, 0),
        Layer(16, 16, (16, 64, 64)): Tile(1, 0),
        Layer(48, 48, (16, 64, 64)): Tile(1, 4),
        Layer(48, 24, (16, 64, 64)): Tile(1, 2),
        Layer(24, 16, (16, 64, 64)): Tile(1, 0),
    }
}
_measured = MEASURED

#: Where `winograd` was measured to be faster than oneDNN: instruction sets of the native module,
#: the fewest channels on either side and tiles of TILE voxels. By `mri2pet-bench winograd`.
FASTER_WITH = ("avx512", "avx2")
LEAST_CHANNELS = 8
LEAST_TILES = 32
TILE = (2, 4, 4)


def _checked(name: str) -> Convolution:
    if name not in get_args(Convolution):
        raise UsageError(
            f"ops.convolution {name!r} is not one of {', '.join(get_args(Convolution))}"
        )
    return name  # type: ignore[return-value]


_convolution: Convolution = _checked(os.environ.get(ENVIRONMENT, "auto"))


def set_convolution(name: str) -> None:
    """Choose the convolution in this process; MRI2PET_CONVOLUTION in the environment starts it.

    Args:
        name: "auto": the kernel where it was measured to be faster, else the library. "native":
            the kernel wherever it can run. "library": the library everywhere.

    Raises:
        UsageError: an unknown name.
    """
    global _convolution
    _convolution = _checked(name)


def get_convolution() -> Convolution:
    """What `set_convolution` was told."""
    return _convolution


@contextlib.contextmanager
def use_convolution(name: str) -> Iterator[None]:
    """`set_convolution` for the length of a block."""
    before = get_convolution()
    set_convolution(name)
    try:
        yield
    finally:
        set_convolution(before)


@contextlib.contextmanager
def use_measurements(table: Measurements) -> Iterator[None]:
    """Another table than MEASURED for the length of a block."""
    global _measured
    before = _measured
    _measured = table
    try:
        yield
    finally:
        _measured = before


def tile_for(x: Tensor, weight: Tensor, x2: Tensor | None = None) -> Tile | None:
    """The tile with which `conv3d` takes the layer; None where the library shall.

    Args:
        x: [B, C, K, I, J]; with x2, [B, C2, K, I, J], its first channels.
        weight: [O, C + C2, 3, 3, 3].
    """
    if _convolution == "library" or backend.get_backend() not in ("auto", "native"):
        return None
    if not _can_run(x, weight):
        return None
    layer = Layer(weight.shape[1], weight.shape[0], (x.shape[2], x.shape[3], x.shape[4]))
    if x2 is not None and x.shape[1] % 8:
        return None
    measured = _measured.get(torch.cuda.get_device_capability(x.device), {}).get(layer)
    return Tile() if measured is None and _convolution == "native" else measured


def winograd_takes(x: Tensor, weight: Tensor) -> bool:
    """Whether `winograd` takes the layer.

    Args:
        x: [B, C, K, I, J].
        weight: [O, C, 3, 3, 3].
    """
    if _convolution == "library" or not (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and _is_inference(x, weight)
        and backend.is_native()
    ):
        return False
    return _convolution == "native" or _is_faster(x, weight)


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    """By measurements (docs/kernels.md); the same for a volume alone or in a batch."""
    tiles = math.prod(-(-n // side) for n, side in zip(x.shape[2:], TILE, strict=True))
    return (
        backend.instruction_set() in FASTER_WITH
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and tiles >= LEAST_TILES
    )


def _can_run(x: Tensor, weight: Tensor) -> bool:
    return bool(
        x.device.type == "cuda"
        and x.dtype in DTYPES
        and max(weight.shape[:2]) <= MOST_CHANNELS
        and _is_inference(x, weight)
        and backend.has_cuda()
    )


def _is_inference(x: Tensor, weight: Tensor) -> bool:
    """A volume of the weight's dtype, and neither a gradient, autocast nor a trace is asked for."""
    return bool(
        weight.dtype == x.dtype
        and x.dim() == 5
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled(x.device.type)
        and not torch.compiler.is_compiling()
    )
