"""The 3 × 3 × 3 convolution by Winograd's minimal filtering, in float32 on the CPU, for inference.

F(2, 3) along the depth, F(4, 3) along rows and columns (A. Lavin and S. Gray, Fast Algorithms for
Convolutional Neural Networks, 2016): 4.5 multiply-adds a voxel and pair of channels instead of 27.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.registration import operation
from mri2pet.ops.tensors import same_device

_LAST = torch.channels_last_3d


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The op as one plain torch call."""
    return F.conv3d(x, weight, bias, padding=1)


class TransformedWeights:
    """The weights as the kernel reads them, made again when a weight has another value.

    Values are compared, not addresses or versions, which a change through `Tensor.data` leaves
    as they were.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor] | None = None

    def of(self, weight: Tensor) -> Tensor:
        """What `winograd` takes for a weight [O, C, 3, 3, 3] of float32."""
        if self._kept is not None and torch.equal(self._kept[0], weight):
            return self._kept[1]
        transformed = transform(weight)
        self._kept = (weight.detach().clone(), transformed)
        return transformed

    def __deepcopy__(self, memo: Any) -> TransformedWeights:
        return TransformedWeights()

    def __reduce__(self) -> tuple[type[TransformedWeights], tuple[()]]:
        return (TransformedWeights, ())  # another processor may read them in another order


def transform(weight: Tensor) -> Tensor:
    """A weight [O, C, 3, 3, 3], float32 on the CPU, as the kernel of this processor reads it.

    Raises:
        ValueError: another shape. TypeError: another dtype.
    """
    if weight.dim() != 5 or tuple(weight.shape[2:]) != (3, 3, 3):
        raise ValueError(f"winograd: weight {tuple(weight.shape)} is not [O, C, 3, 3, 3]")
    if weight.dtype != torch.float32:
        raise TypeError(f"winograd: weight {tuple(weight.shape)} of {weight.dtype} is not float32")
    channels = (weight.shape[1], weight.shape[0])
    module = backend.native()
    transformed = torch.empty(module.winograd_weights_size(*channels), dtype=torch.float32)
    weight = weight.detach().contiguous()
    params = module.WinogradWeights(channels, weight.data_ptr(), transformed.data_ptr())
    backend.launch("winograd_weights", params, weight.device)
    return transformed


@operation("mri2pet::winograd", devices="cpu")
def _forward(x: Tensor, transformed: Tensor, bias: Tensor | None, cout: int) -> Tensor:
    """Channels-last, whatever the layout of x."""
    x = x.contiguous(memory_format=_LAST)
    bias = None if bias is None else bias.contiguous()
    y = _empty_result(x, transformed, bias, cout)
    params = backend.native().WinogradForward(
        (x.shape[0], *x.shape[2:], x.shape[1], cout),
        x.data_ptr(),
        transformed.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        y.data_ptr(),
    )
    backend.launch("winograd_forward", params, x.device)
    return y


@torch.library.register_fake(_forward)
def _empty_result(x: Tensor, transformed: Tensor, bias: Tensor | None, cout: int) -> Tensor:
    shape = (x.shape[0], cout, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_LAST)


def winograd(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, kept: TransformedWeights | None = None
) -> Tensor:
    """A 3 × 3 × 3 convolution with stride 1 and padding 1, without gradient.

    The same bits for any number of threads, and for a volume alone or in a batch.

    Args:
        x: float32 [B, C, K, I, J] on the CPU, in either layout.
        weight: float32 [O, C, 3, 3, 3].
        bias: float32 [O].
        kept: where the transformed weight is kept from call to call.

    Returns:
        y [B, O, K, I, J], channels-last. For normal numbers the error of float32 is 2 to 3 times
        that of the plain sum.

    Raises:
        ValueError: the shapes or devices do not fit. TypeError: another dtype.
    """
    if x.dim() != 5 or weight.dim() != 5 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"winograd: weight {tuple(weight.shape)} does not fit x {tuple(x.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"winograd: bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}"
        )
    if x.dtype != torch.float32:
        raise TypeError(f"winograd: x {tuple(x.shape)} of {x.dtype} is not float32")
    same_device("winograd", x, weight=weight, bias=bias)
    kept = TransformedWeights() if kept is None else kept
    return _forward(x.detach(), kept.of(weight), bias, weight.shape[0])
