"""GroupNorm with one group [+ residual] [+ bias per channel] [+ GELU]: the network's only norm."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.registration import operation, register_autocast
from mri2pet.ops.tensors import (
    accumulation_dtype,
    as_accumulated,
    dtype_name,
    empty_as,
    memory_format,
    same_device,
    tensor3,
)


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """The op as four plain torch calls; arguments as in `group_norm_gelu`."""
    y = F.group_norm(x, 1, weight, bias, eps)
    if residual is not None:
        y = y + residual
    if channel_bias is not None:
        y = y + channel_bias.reshape(*channel_bias.shape, *([1] * (x.dim() - 2)))
    return F.gelu(y) if gelu else y


@operation("mri2pet::group_norm_gelu", devices=backend.NATIVE_DEVICES, has_gradient=True)
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    channel_bias: Tensor | None,
    gelu: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, and for the backward pass mean and 1 / standard deviation, [B] each."""
    name, layout = dtype_name("group_norm_gelu", "x", x), memory_format(x)
    x = x.contiguous(memory_format=layout)
    y, mean, rstd = _empty_results(x)
    added = _Added(x, weight, bias, residual, channel_bias)
    params = backend.native().GroupNormGeluForward(
        _sizes(x),
        name,
        gelu,
        eps,
        tensor3(x, layout),
        *added.addresses(layout),
        tensor3(y, layout),
        mean.data_ptr(),
        rstd.data_ptr(),
    )
    backend.launch("group_norm_gelu_forward", params, x.device)
    return y, mean, rstd


class _Added:
    """Weight, bias, residual and channel bias as the kernels read them; alive for the launch."""

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        channel_bias: Tensor | None,
    ) -> None:
        self.weight, self.bias = as_accumulated(weight, x), as_accumulated(bias, x)
        self.residual = self.channel_bias = None
        if residual is not None:
            self.residual = residual.to(x.dtype).contiguous(memory_format=memory_format(x))
        if channel_bias is not None:
            self.channel_bias = as_accumulated(channel_bias, x)

    def addresses(self, layout: torch.memory_format) -> tuple[Any, ...]:
        more = 0 if self.channel_bias is None else self.channel_bias.data_ptr()
        weights = (self.weight.data_ptr(), self.bias.data_ptr())
        return (*weights, tensor3(self.residual, layout), more)


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return (x.shape[0], x.shape[1], math.prod(x.shape[2:]))


def _empty_results(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, rstd = (x.new_empty(x.shape[:1], dtype=accumulation_dtype(x)) for _ in range(2))
    return empty_as(x), mean, rstd


@operation("mri2pet::group_norm_gelu_backward", devices=backend.NATIVE_DEVICES)
def _backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    channel_bias: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    gelu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias, residual, channel_bias; the last two empty without them."""
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    grad_y = grad_y.to(x.dtype).contiguous(memory_format=layout)
    grads = _empty_gradients(x, residual is not None, channel_bias is not None)
    grad_x, grad_weight, grad_bias, grad_residual, grad_channel_bias = grads
    added = _Added(x, weight, bias, residual, channel_bias)
    params = backend.native().GroupNormGeluBackward(
        _sizes(x),
        dtype_name("group_norm_gelu", "x", x),
        gelu,
        tensor3(x, layout),
        *added.addresses(layout),
        mean.data_ptr(),
        rstd.data_ptr(),
        tensor3(grad_y, layout),
        tensor3(grad_x, layout),
        tensor3(None if residual is None else grad_residual, layout),
        grad_weight.data_ptr(),
        grad_bias.data_ptr(),
        0 if channel_bias is None else grad_channel_bias.data_ptr(),
    )
    backend.launch("group_norm_gelu_backward", params, x.device)
    return grads


def _empty_gradients(
    x: Tensor, residual: bool, channel_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype, channels = accumulation_dtype(x), x.shape[1]
    grad_weight, grad_bias = (x.new_empty((channels,), dtype=dtype) for _ in range(2))
    grad_residual = empty_as(x) if residual else x.new_empty((0,))
    shape = tuple(x.shape[:2]) if channel_bias else (0,)
    grad_channel_bias = x.new_empty(shape, dtype=dtype)
    return empty_as(x), grad_weight, grad_bias, grad_residual, grad_channel_bias


@torch.library.register_fake(_forward)
def _forward_fake(x: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_results(x)


@torch.library.register_fake(_backward)
def _backward_fake(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    channel_bias: Tensor | None,
    *others: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(x, residual is not None, channel_bias is not None)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.gelu, _ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output[1:])


def _autograd(ctx: Any, grad_y: Tensor | None, *unused: None) -> tuple[Tensor | None, ...]:
    if grad_y is None:
        return (None,) * 7
    saved = ctx.saved_tensors
    grads = _backward(grad_y, *saved, ctx.gelu)
    cast = (None if t is None else g.to(t.dtype) for g, t in zip(grads, saved[:5], strict=True))
    return (*cast, None, None)


torch.library.register_autograd(_forward, _autograd, setup_context=_setup_context)


def _autocast(
    dtype: torch.dtype, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, *rest: Any
) -> tuple[Any, ...]:
    """x keeps its dtype (sums are float32 or better in any case); the residual takes it."""
    return (x, weight, bias, None if residual is None else residual.to(x.dtype), *rest)


register_autocast(_forward, _autocast)


def group_norm_gelu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    channel_bias: Tensor | None = None,
    gelu: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """act(GroupNorm(1)(x) · weight + bias + residual + channel_bias).

    Args:
        x: [B, C, K, I, J]; mean and variance are over all C·K·I·J values of a sample.
        weight, bias: [C].
        residual: [B, C, K, I, J], added after the norm.
        channel_bias: [B, C], added to every voxel of a channel.
        gelu: apply the exact (erf) GELU at the end.

    Returns:
        [B, C, K, I, J].

    Raises:
        ValueError: the shapes or devices do not fit, or x holds no value.
        TypeError: a dtype that the native kernels do not take.
    """
    channels = x.shape[1] if x.dim() > 1 else -1
    if weight.shape != (channels,) or bias.shape != (channels,):
        raise ValueError(
            f"group_norm_gelu: weight {tuple(weight.shape)} and bias {tuple(bias.shape)} "
            f"do not fit x {tuple(x.shape)}"
        )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(
            f"group_norm_gelu: residual {tuple(residual.shape)} is not of the shape of x "
            f"{tuple(x.shape)}"
        )
    if channel_bias is not None and channel_bias.shape != x.shape[:2]:
        raise ValueError(
            f"group_norm_gelu: channel_bias {tuple(channel_bias.shape)} does not fit x "
            f"{tuple(x.shape)}"
        )
    same_device(
        "group_norm_gelu", x, weight=weight, bias=bias, residual=residual, channel_bias=channel_bias
    )
    if backend.chosen("group_norm_gelu", x) == "native":
        return _forward(x, weight, bias, residual, channel_bias, gelu, eps)[0]
    return reference(x, weight, bias, residual, channel_bias, gelu, eps)
