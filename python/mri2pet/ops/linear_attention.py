"""Linear attention over voxels (Shen et al. 2021, as the paper uses it), whole block.

The block projects to q, k, v, soft-maxes k over the voxels, and mixes: context = k vᵀ,
out = contextᵀ q, y = W_out out + b. q has no softmax, so everything after the context is one
C × C matrix per sample; `folded` uses that, and never builds q or v.
"""

from __future__ import annotations

import math
from typing import Any

import torch
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

HEADS = 4
MOST_CUDA_CHANNELS = MOST_CUDA_ROWS = 128  # of the CUDA kernels; a row is one of a head's width


def reference(x: Tensor, w_qkv: Tensor, w_out: Tensor, bias: Tensor, heads: int = HEADS) -> Tensor:
    """The block as the paper writes it; arguments as in `linear_attention`."""
    batch, channels, *spatial = x.shape
    voxels = x.flatten(2)
    qkv = torch.einsum("dc,bcn->bdn", w_qkv.flatten(1), voxels)
    q, k, v = qkv.reshape(batch, 3, heads, -1, voxels.shape[-1]).unbind(1)
    context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
    out = torch.einsum("bhde,bhdn->bhen", context, q).flatten(1, 2)
    y = torch.einsum("cd,bdn->bcn", w_out.flatten(1), out) + bias[:, None]
    return y.reshape(batch, channels, *spatial)


def folded(x: Tensor, w_qkv: Tensor, w_out: Tensor, bias: Tensor, heads: int = HEADS) -> Tensor:
    """The same function with the algebra folded: S = softmax(W_k X) Xᵀ, y = M X + b.

    With ctx_h = S_h W_v,hᵀ and M = Σ_h W_out,h ctx_hᵀ W_q,h; only the keys have N columns.
    """
    batch, channels, *spatial = x.shape
    voxels = x.flatten(2)  # [B, C, N]
    w_q, w_k, w_v = w_qkv.flatten(1).reshape(3, heads, -1, channels)  # each [heads, D, C]
    keys = torch.matmul(w_k.flatten(0, 1), voxels)  # [B, heads·D, N]
    keys = keys.softmax(dim=-1).to(x.dtype)
    s = torch.matmul(keys, voxels.transpose(1, 2))  # [B, heads·D, C]
    s = s.reshape(batch, heads, -1, channels)
    context = torch.einsum("bhdc,hec->bhde", s, w_v.to(s.dtype))
    w_out = w_out.flatten(1).reshape(channels, heads, -1)
    m = torch.einsum("che,bhde,hdk->bck", w_out.to(s.dtype), context, w_q.to(s.dtype))
    y = torch.matmul(m.to(voxels.dtype), voxels) + bias[:, None].to(voxels.dtype)
    return y.reshape(batch, channels, *spatial)


@operation("mri2pet::linear_attention", devices=backend.NATIVE_DEVICES, has_gradient=True)
def _forward(
    x: Tensor, w_qkv: Tensor, w_out: Tensor, bias: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, and what the backward pass needs: row_max, row_sum [B, D], S [B, D, C], M [B, C, C]."""
    name, layout = dtype_name("linear_attention", "x", x), memory_format(x)
    x = x.contiguous(memory_format=layout)
    weights = [as_accumulated(w, x) for w in (w_qkv, w_out, bias)]
    y, *saved = _empty_results(x, w_qkv)
    params = backend.native().LinearAttentionForward(
        _sizes(x, w_qkv, heads),
        name,
        tensor3(x, layout),
        *(w.data_ptr() for w in weights),
        tensor3(y, layout),
        *(t.data_ptr() for t in saved),
    )
    backend.launch("linear_attention_forward", params, x.device)
    return y, saved[0], saved[1], saved[2], saved[3]


def _sizes(x: Tensor, w_qkv: Tensor, heads: int) -> tuple[int, int, int, int, int]:
    width = w_qkv.shape[0] // (3 * heads)
    return (x.shape[0], x.shape[1], math.prod(x.shape[2:]), heads, width)


def _empty_results(x: Tensor, w_qkv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, channels = x.shape[:2]
    depth, dtype = w_qkv.shape[0] // 3, accumulation_dtype(x)
    shapes = ((batch, depth), (batch, depth), (batch, depth, channels), (batch, channels, channels))
    row_max, row_sum, s, m = (x.new_empty(shape, dtype=dtype) for shape in shapes)
    return empty_as(x), row_max, row_sum, s, m


@operation("mri2pet::linear_attention_backward", devices=backend.NATIVE_DEVICES)
def _backward(
    grad_y: Tensor,
    x: Tensor,
    w_qkv: Tensor,
    w_out: Tensor,
    row_max: Tensor,
    row_sum: Tensor,
    s: Tensor,
    m: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, w_qkv [3 D, C], w_out [C, D] and bias [C]; the weights' in Acc."""
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    grad_y = grad_y.to(x.dtype).contiguous(memory_format=layout)
    weights = [as_accumulated(w, x) for w in (w_qkv, w_out)]
    grad_x, *grads = _empty_gradients(x, w_qkv)
    params = backend.native().LinearAttentionBackward(
        _sizes(x, w_qkv, heads),
        dtype_name("linear_attention", "x", x),
        tensor3(x, layout),
        tensor3(grad_y, layout),
        *(t.data_ptr() for t in (*weights, row_max, row_sum, s, m)),
        tensor3(grad_x, layout),
        *(g.data_ptr() for g in grads),
    )
    backend.launch("linear_attention_backward", params, x.device)
    return grad_x, grads[0], grads[1], grads[2]


def _empty_gradients(x: Tensor, w_qkv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    channels, rows, dtype = x.shape[1], w_qkv.shape[0], accumulation_dtype(x)
    shapes = ((rows, channels), (channels, rows // 3), (channels,))
    grad_w_qkv, grad_w_out, grad_bias = (x.new_empty(shape, dtype=dtype) for shape in shapes)
    return empty_as(x), grad_w_qkv, grad_w_out, grad_bias


@torch.library.register_fake(_forward)
def _forward_fake(
    x: Tensor, w_qkv: Tensor, w_out: Tensor, bias: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_results(x, w_qkv)


@torch.library.register_fake(_backward)
def _backward_fake(
    grad_y: Tensor, x: Tensor, w_qkv: Tensor, *saved: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(x, w_qkv)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, w_qkv, w_out, bias, ctx.heads = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w_qkv, w_out, bias, *output[1:])


def _autograd(ctx: Any, grad_y: Tensor | None, *unused: None) -> tuple[Tensor | None, ...]:
    if grad_y is None:
        return (None,) * 5
    x, w_qkv, w_out, bias, *saved = ctx.saved_tensors
    grad_x, *grads = _backward(grad_y, x, w_qkv, w_out, *saved, ctx.heads)
    weights = (w_qkv, w_out, bias)
    return (
        grad_x,
        *(g.to(w.dtype).reshape(w.shape) for g, w in zip(grads, weights, strict=True)),
        None,
    )


torch.library.register_autograd(_forward, _autograd, setup_context=_setup_context)


def _autocast(dtype: torch.dtype, x: Tensor, *others: Any) -> tuple[Any, ...]:
    """The activations in the autocast dtype; the weights as they are."""
    return (
        x.to(dtype) if x.dtype in (torch.float32, torch.bfloat16, torch.float16) else x,
        *others,
    )


register_autocast(_forward, _autocast)


def _kernels_take(x: Tensor, rows: int) -> bool:
    """Whether x and heads · D rows are within what the kernels of the device of x take.

    Raises:
        ValueError: they are not, and ops.backend is "native".
    """
    within = x.shape[1] <= MOST_CUDA_CHANNELS and rows <= MOST_CUDA_ROWS
    if x.device.type != "cuda" or within:
        return True
    if backend.get_backend() == "native":
        raise ValueError(
            f"linear_attention: x {tuple(x.shape)} with heads · D = {rows} is more than the CUDA "
            f"kernels take ({MOST_CUDA_CHANNELS} channels, {MOST_CUDA_ROWS} rows); set "
            "ops.backend=folded"
        )
    return False


def _folding_saves(x: Tensor, rows: int) -> bool:
    """Whether "auto" folds: with as few voxels as heads · D there is nothing to save.

    Then the products of the paper's form are as small as the folded ones, and torch's products beat
    our loops (float32 on the CPU, at 128 × 2 × 8 × 8 by a quarter; in bfloat16 they do not, for the
    weights must be cast first).
    """
    if backend.get_backend() != "auto" or x.device.type != "cpu" or x.dtype != torch.float32:
        return True
    return math.prod(x.shape[2:]) > rows or torch.is_autocast_enabled("cpu")


def linear_attention(
    x: Tensor, w_qkv: Tensor, w_out: Tensor, bias: Tensor, heads: int = HEADS
) -> Tensor:
    """The attention block; its output replaces its input (no residual, no norm).

    Args:
        x: [B, C, K, I, J] or [B, C, N].
        w_qkv: [3·heads·D, C] or with trailing ones, rows in the order (q k v) (heads) (D).
        w_out: [C, heads·D] or with trailing ones.
        bias: [C].

    Returns:
        The shape of x.

    Raises:
        ValueError: the shapes or devices do not fit, or x holds no value; or ops.backend is
            "native" and the CUDA kernels do not take so many channels or heads · D (128 at most;
            "auto" takes the folded form then).
        TypeError: a dtype that the native kernels do not take.
    """
    channels = x.shape[1] if x.dim() > 2 else -1
    rows = w_qkv.shape[0]
    fits = (
        w_qkv.numel() == rows * channels
        and rows % (3 * heads) == 0
        and w_out.shape[:2] == (channels, rows // 3)
        and bias.shape == (channels,)
    )
    if not fits:
        raise ValueError(
            f"linear_attention: w_qkv {tuple(w_qkv.shape)}, w_out {tuple(w_out.shape)} and bias "
            f"{tuple(bias.shape)} do not fit x {tuple(x.shape)} with {heads} heads"
        )
    same_device("linear_attention", x, w_qkv=w_qkv, w_out=w_out, bias=bias)
    form = backend.chosen("linear_attention", x)
    if form == "native" and not _folding_saves(x, rows // 3):
        y = reference(x, w_qkv, w_out, bias, heads)
        return y.contiguous(memory_format=memory_format(x))
    if form == "native" and _kernels_take(x, rows // 3):
        return _forward(x, w_qkv, w_out, bias, heads)[0]
    return (reference if form == "reference" else folded)(x, w_qkv, w_out, bias, heads)
