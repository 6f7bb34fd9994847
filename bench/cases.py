"""The ops at the sizes of preset `paper`, with the least bytes and flops that each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Channels and volume of every attention of the network; the last one is preset `compact`'s deepest.
ATTENTIONS = (
    (8, (32, 128, 128)),
    (16, (16, 64, 64)),
    (32, (8, 32, 32)),
    (64, (4, 16, 16)),
    (128, (2, 8, 8)),
    (128, (2, 4, 4)),
)
DEPTH = 128  # heads · width


@dataclass(frozen=True)
class Work:
    """What a pass must at least do: bytes read and written, and floating-point operations.

    A multiply-add is two operations, an exponential is none.
    """

    bytes_moved: int
    flops: int

    def seconds(self, bytes_per_s: float, flops_per_s: float) -> float:
        """The time on a machine of these rates: the larger of the two."""
        return max(self.bytes_moved / bytes_per_s, self.flops / flops_per_s)


@dataclass(frozen=True)
class Case:
    """One op at one size.

    leaves: how many of the inputs, from the first, have a gradient that training needs; None for
    an op without gradient. upstream: the gradient that comes to the output. plain_form_waits: the
    form in plain torch reads values on the host, so that no CUDA graph can hold it.
    """

    op: str
    shape: tuple[int, ...]
    call: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    forward: Work
    both: Work | None = None
    leaves: int | None = None
    upstream: Tensor | None = None
    plain_form_waits: bool = False


def cases(device: str, dtype: str, scale: int = 1) -> list[Case]:
    """Every op at its sizes; `scale` divides I and J."""
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    sizes = [(c, (k, max(i // scale, 1), max(j // scale, 1))) for c, (k, i, j) in ATTENTIONS]
    volume = sizes[0][1]
    return [
        *(_attention(device, kind, channels, size) for channels, size in sizes),
        _loss(device, kind, (16, 1, *volume)),
        _step(device, kind, (1, 1, *volume)),
        _norm(device, kind, (1, 24, *volume)),
        *([_upsampling(device, kind, volume)] if device.startswith("cuda") else []),
    ]


def _normal(device: str, *size: int) -> Tensor:
    import torch

    return torch.randn(*size, device=device)


def _attention(device: str, kind: torch.dtype, channels: int, size: tuple[int, ...]) -> Case:
    """Forward: X twice, Y once; K, S and Y. Backward: X and G twice, dX once; dM, K, dSX, the
    three terms of dX, and dWk.
    """
    from mri2pet.ops import linear_attention

    shape = (1, channels, *size)
    x, upstream = (_normal(device, *shape).to(kind) for _ in range(2))
    weights = (
        _normal(device, 3 * DEPTH, channels) / channels**0.5,
        _normal(device, channels, DEPTH) / DEPTH**0.5,
        _normal(device, channels),
    )
    n, volume, wide, small = (
        prod(size),
        x.numel() * x.element_size(),
        DEPTH * channels,
        channels**2,
    )
    return Case(
        "linear_attention",
        shape,
        linear_attention,
        (x, *weights),
        Work(3 * volume, 2 * n * (2 * wide + small)),
        Work(8 * volume, 2 * n * (7 * wide + 3 * small)),
        4,
        upstream,
    )


def _loss(device: str, kind: torch.dtype, shape: tuple[int, ...]) -> Case:
    """Output and target once, and the gradient once; about 15 operations a voxel down the pyramid
    (a third more than those of its first level) and as many up.
    """
    import torch

    from mri2pet.ops import laplacian_pyramid_loss

    output, target = _normal(device, *shape).to(kind), _normal(device, *shape)
    weight = torch.rand(shape[0], device=device)

    def call(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return laplacian_pyramid_loss(output, target, weight, 0.25)[0]

    n, size = output.numel(), output.element_size()
    return Case(
        "laplacian_pyramid_loss",
        shape,
        call,
        (output, target, weight),
        Work(n * (size + 4), 15 * n),
        Work(n * (2 * size + 4), 30 * n),
        1,
        # As training in half scales the loss: the gradients themselves are below half's numbers.
        torch.full((), 2.0**16 if kind == torch.float16 else 1.0, device=device),
    )


def _step(device: str, kind: torch.dtype, shape: tuple[int, ...]) -> Case:
    """Three volumes read, two written; the noise is integer arithmetic and not counted."""
    import torch

    from mri2pet.ops import sampler_step

    x, output, before = (_normal(device, *shape) for _ in range(3))
    row = torch.tensor([0.9, -0.3, 0.2, 0.4, 1.1, -0.7], dtype=torch.float64, device=device)
    zero = torch.zeros(shape[0], dtype=torch.int64, device=device)

    def call(x: Tensor, output: Tensor, previous_x0: Tensor) -> Tensor:
        names = {"subjects": zero, "samples": zero}
        return sampler_step(x, output, previous_x0, row, seed=0, step=500, **names)[0]

    output = output.to(kind)
    moved = 4 * 4 * x.numel() + output.numel() * output.element_size()
    work = Work(moved, 10 * x.numel())
    inputs = (x, output, before)
    return Case("sampler_step", shape, call, inputs, work, plain_form_waits=True)


def _norm(device: str, kind: torch.dtype, shape: tuple[int, ...]) -> Case:
    """Forward: x twice, y once; 25 operations a value, most of them of GELU. Backward: x and the
    upstream gradient twice, dx once; 35 operations.
    """
    from mri2pet.ops import group_norm_gelu

    x, upstream = (_normal(device, *shape).to(kind) for _ in range(2))
    weights = (_normal(device, shape[1]), _normal(device, shape[1]))
    n, volume = x.numel(), x.numel() * x.element_size()
    return Case(
        "group_norm_gelu",
        shape,
        group_norm_gelu,
        (x, *weights),
        Work(3 * volume, 25 * n),
        Work(8 * volume, 60 * n),
        3,
        upstream,
    )


def _upsampling(device: str, kind: torch.dtype, volume: tuple[int, ...]) -> Case:
    """Of the last level, channels last as in the network. Forward: both inputs once, y once; eight
    multiply-adds a value. Backward: the upstream gradient once, dx once, and y again.
    """
    import torch

    from mri2pet.ops import upsample_concat

    def channels_last(channels: int, size: tuple[int, ...]) -> Tensor:
        values = _normal(device, 1, channels, *size).to(kind)
        return values.contiguous(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    coarse = tuple(max(n // 2, 1) for n in volume)
    x, skip, upstream = (
        channels_last(16, coarse),
        channels_last(8, volume),
        channels_last(24, volume),
    )
    n, size = prod(volume), x.element_size()
    small, moved = x.numel() * size, 24 * n * size + skip.numel() * size
    return Case(
        "upsample_concat",
        tuple(upstream.shape),
        upsample_concat,
        (x, skip),
        Work(small + moved, 16 * 16 * n),
        Work(2 * small + moved + 24 * n * size, 2 * 16 * 16 * n),
        2,
        upstream,
    )
