"""The 3 × 3 × 3 convolution of the network."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mri2pet.ops import backend, convolution_choice
from mri2pet.ops.conv3d import conv3d
from mri2pet.ops.winograd import TransformedWeights, winograd

_ONES = (1, 1, 1)
#: `ConvParams::use_mkldnn` of torch: one volume is given to oneDNN when B·C·K·I exceeds this.
_TORCH_TAKES_ONEDNN_ABOVE = 20480


class Conv3d(nn.Conv3d):
    """3 × 3 × 3, padding 1, stride 1.

    Without gradient it is `mri2pet.ops.conv3d` in half precision on CUDA, and
    `mri2pet.ops.winograd` in float32 on the CPU, where `mri2pet.ops.convolution_choice` says so.
    Else one float32 volume on the CPU always goes through oneDNN: torch gives a batch of one to
    its im2col convolution unless B·C·K·I > 20,480, which leaves out the columns and so the large
    slices of a brain: on 2 cores 8 → 8 channels of 32 × 64 × 64 took 48 ms there and take 2 ms in
    oneDNN.
    """

    def __init__(self, cin: int, cout: int, bias: bool = False) -> None:
        super().__init__(cin, cout, 3, padding=1, bias=bias)
        self._transformed = TransformedWeights()

    def forward(self, x: Tensor) -> Tensor:
        if convolution_choice.winograd_takes(x, self.weight):
            return winograd(x, self.weight, self.bias, self._transformed)
        if _torch_would_not_take_onednn(x) and self.weight.dtype == torch.float32:
            return _OneVolume.apply(x, self.weight, self.bias)
        tile = convolution_choice.tile_for(x, self.weight) if self.bias is None else None
        if tile is not None:
            return conv3d(x, self.weight, variant=tile.variant, planes=tile.planes)[0]
        return super().forward(x)


def _torch_would_not_take_onednn(x: Tensor) -> bool:
    return bool(
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 5
        and x.shape[0] == 1
        and x.shape[1] * x.shape[2] * x.shape[3] <= _TORCH_TAKES_ONEDNN_ABOVE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and backend.get_backend() != "reference"
    )


class _OneVolume(torch.autograd.Function):
    """The convolution of one volume [1, C, K, I, J], and its gradients, in oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip(2, 3, 4).transpose(0, 1)
            grad_x = _onednn(grad, mirrored.contiguous(memory_format=_layout(grad)), None)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(grad, x, weight)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3, 4))
        return grad_x, grad_weight, grad_bias


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.mkldnn_convolution(x, weight, bias, _ONES, _ONES, _ONES, 1)  # type: ignore[attr-defined]
    return result


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The weight's gradient, of two halves of the depth as a batch of two: torch gives those to
    oneDNN. An odd depth stays whole."""
    half, layout = x.shape[2] // 2, _layout(x)
    padding = _ONES
    if x.shape[2] % 2 == 0:
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))
        x = torch.cat((padded[:, :, : half + 2], padded[:, :, half:]))
        grad = torch.cat((grad[:, :, :half], grad[:, :, half:]))
        x, grad = x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout)
        padding = (0, 1, 1)
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, _ONES, padding, _ONES, False, (0, 0, 0), 1, (False, True, False)
    )
    result: Tensor = gradients[1]
    return result


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format
