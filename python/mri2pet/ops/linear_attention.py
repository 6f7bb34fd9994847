"""Linear attention over voxels (Shen et al. 2021, as the paper uses it), whole block.

The block projects to q, k, v, soft-maxes k over the voxels, and mixes: context = k vᵀ,
out = contextᵀ q, y = W_out out + b. q has no softmax, so everything after the context is one
C × C matrix per sample; `folded` uses that, and never builds q or v.
"""

from __future__ import annotations

import torch
from torch import Tensor

HEADS = 4


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
        ValueError: the shapes do not fit.
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
    return folded(x, w_qkv, w_out, bias, heads)
