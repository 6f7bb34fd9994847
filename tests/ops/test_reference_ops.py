"""The plain-torch ops: agreement of their forms, and refusal of what does not fit."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops import (
    group_norm_gelu,
    laplacian_pyramid_loss,
    linear_attention,
    sampler_step,
)
from mri2pet.ops.laplacian_pyramid_loss import pyramid_details
from mri2pet.ops.linear_attention import reference


@pytest.mark.parametrize("shape", [(1, 8, 1, 1, 1), (2, 16, 3, 5, 7), (1, 3, 17)])
def test_folded_attention_is_exact_with_its_gradients(shape):
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()

    channels = shape[1]
    inputs = [normal(*shape), normal(384, channels), normal(channels, 128), normal(channels)]
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64)
    results = []
    for form in (reference, linear_attention):
        y = form(*inputs)
        results.append((y, *torch.autograd.grad(y, inputs, upstream)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(32, 32), (48, 33), (128, 37)])
def test_one_pyramid_of_the_error_is_the_papers_two(size):
    """The paper compares the pyramids of x_0 and x̃_0 = x_0 + s (target − output)."""
    generator = torch.Generator().manual_seed(1)
    output, target, x0 = torch.randn(3, 2, 1, 3, *size, generator=generator, dtype=torch.float64)
    s2 = torch.tensor([0.3, 900.0], dtype=torch.float64)
    estimate = x0 + s2.sqrt().reshape(-1, 1, 1, 1, 1) * (target - output)
    paper = sum(
        (a - b).square().mean()
        for a, b in zip(
            pyramid_details(x0.flatten(1, 2)), pyramid_details(estimate.flatten(1, 2)), strict=True
        )
    )
    loss, mse, laplacian = laplacian_pyramid_loss(output, target, s2, 0.25)
    torch.testing.assert_close(laplacian, paper, rtol=1e-9, atol=0)
    torch.testing.assert_close(mse, (output - target).square().mean())
    torch.testing.assert_close(loss, mse + 0.25 * paper)


def test_group_norm_gelu_adds_in_the_blocks_order():
    generator = torch.Generator().manual_seed(2)
    x, residual = torch.randn(2, 2, 4, 3, 5, 2, generator=generator)
    weight, bias = torch.randn(2, 4, generator=generator)
    channel_bias = torch.randn(2, 4, generator=generator)
    y = group_norm_gelu(x, weight, bias, residual, channel_bias, gelu=True)
    for b in range(2):
        mean, var = x[b].mean(), x[b].var(correction=0)
        for c in range(4):
            plain = (x[b, c] - mean) / (var + 1e-5).sqrt() * weight[c] + bias[c]
            plain = plain + residual[b, c] + channel_bias[b, c]
            expected = plain * 0.5 * (1 + torch.erf(plain / 2**0.5))
            torch.testing.assert_close(y[b, c], expected)


def test_what_does_not_fit_is_refused_with_its_shape():
    x = torch.zeros(2, 4, 2, 2, 2)
    with pytest.raises(ValueError, match=r"group_norm_gelu.*\(5,\)"):
        group_norm_gelu(x, torch.ones(5), torch.zeros(5))
    with pytest.raises(ValueError, match=r"residual \(2, 4, 2, 2, 1\)"):
        group_norm_gelu(x, torch.ones(4), torch.zeros(4), residual=x[..., :1])
    with pytest.raises(ValueError, match=r"channel_bias \(2, 3\)"):
        group_norm_gelu(x, torch.ones(4), torch.zeros(4), channel_bias=torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"linear_attention.*\(384, 5\)"):
        linear_attention(x, torch.zeros(384, 5), torch.zeros(4, 128), torch.zeros(4))
    volume = torch.zeros(1, 1, 2, 32, 32)
    with pytest.raises(ValueError, match="not usable"):
        laplacian_pyramid_loss(volume, volume, torch.ones(1), float("nan"))
    with pytest.raises(ValueError, match="too small"):
        laplacian_pyramid_loss(volume[..., :31], volume[..., :31], torch.ones(1), 0.25)
    with pytest.raises(ValueError, match=r"weight \(2,\)"):
        laplacian_pyramid_loss(volume, volume, torch.ones(2), 0.25)
    one = torch.zeros(1, dtype=torch.int64)
    row = torch.zeros(6, dtype=torch.float64)
    with pytest.raises(ValueError, match="one shape"):
        sampler_step(
            volume, volume[:, :, :1], volume, row, seed=0, step=1, subjects=one, samples=one
        )
    with pytest.raises(ValueError, match="must name each"):
        sampler_step(
            volume, volume, volume, row, seed=0, step=1, subjects=one, samples=one.expand(2)
        )
