"""The ops on a GPU, through their public functions, against plain torch in float64 on the CPU."""

from __future__ import annotations

import itertools

import pytest
import torch

from mri2pet.ops import (
    group_norm_gelu,
    laplacian_pyramid_loss,
    linear_attention,
    philox_normal,
    sampler_step,
    upsample_concat,
)
from mri2pet.ops.group_norm_gelu import reference as plain_norm
from mri2pet.ops.laplacian_pyramid_loss import reference as plain_loss
from mri2pet.ops.linear_attention import folded
from mri2pet.ops.sampler_step import reference as plain_step
from mri2pet.ops.upsample_concat import reference as plain_upsampling

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("native", "nan_filled")]

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [
    (1, 1, 1, 1, 17),
    (2, 8, 9, 17, 31),
    (1, 16, 8, 33, 32),
    (2, 24, 4, 16, 16),
    (1, 128, 2, 8, 8),
]
FULL = pytest.param((1, 8, 32, 128, 128), id="full")  # the network's largest layer


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_gpu(tensor, dtype, channels_last=False):
    tensor = tensor.to("cuda", dtype)
    if channels_last and tensor.dim() == 5:
        return tensor.contiguous(memory_format=torch.channels_last_3d)
    return tensor


def with_gradients(form, inputs, upstream):
    leaves = [t.detach().requires_grad_() for t in inputs]
    y = form(*leaves)
    return tuple(t.cpu() for t in (y, *torch.autograd.grad(y, leaves, upstream)))


def check(form, plain, inputs, upstream, dtype, channels_last, assert_as_exact):
    """`form` on the GPU in `dtype`, against `plain` in float64, and with it on the GPU."""
    activations = [t.dim() == 5 for t in inputs]
    given = [
        on_gpu(t, dtype if a else torch.float32, channels_last)
        for t, a in zip(inputs, activations, strict=True)
    ]
    upstream = on_gpu(upstream, dtype, channels_last)
    values = with_gradients(form, given, upstream)
    again = with_gradients(form, given, upstream)
    assert all(torch.equal(a, b) for a, b in zip(values, again, strict=True))
    exact = with_gradients(plain, [t.cpu().double() for t in given], upstream.cpu().double())
    same = with_gradients(plain, [t.to(dtype) for t in given], upstream)
    assert_as_exact(values, same, exact)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, FULL])
def test_linear_attention(shape, dtype, channels_last, assert_as_exact):
    channels = shape[1]
    inputs = [
        normal(*shape),
        normal(384, channels, seed=1) / channels**0.5,
        normal(channels, 128, seed=2) / 128**0.5,
        normal(channels, seed=3),
    ]
    upstream = normal(*shape, seed=4)
    check(linear_attention, folded, inputs, upstream, dtype, channels_last, assert_as_exact)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 12, 8, 33, 32), FULL])
def test_group_norm_gelu(shape, dtype, channels_last, assert_as_exact):
    batch, channels = shape[:2]
    inputs = [
        normal(*shape) * 2 + 0.5,
        normal(channels, seed=1),
        normal(channels, seed=2),
        normal(*shape, seed=3),
        normal(batch, channels, seed=4),
    ]
    upstream = normal(*shape, seed=5)
    check(group_norm_gelu, plain_norm, inputs, upstream, dtype, channels_last, assert_as_exact)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("coarse", "skip"),
    [
        ((1, 1, 1, 1, 1), (1, 3, 2, 2, 2)),
        ((2, 5, 4, 9, 15), (2, 3, 9, 17, 31)),
        ((1, 32, 8, 32, 32), (1, 16, 16, 64, 64)),
        ((1, 16, 16, 64, 64), (1, 8, 32, 128, 128)),
    ],
)
def test_upsample_concat(coarse, skip, dtype, channels_last, assert_as_exact):
    upstream = normal(skip[0], skip[1] + coarse[1], *skip[2:], seed=2)
    inputs = [normal(*coarse), normal(*skip, seed=1)]
    check(
        upsample_concat, plain_upsampling, inputs, upstream, dtype, channels_last, assert_as_exact
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 32, 32),
        (2, 1, 3, 33, 47),
        (2, 1, 8, 128, 128),
        (1, 1, 2, 256, 256),
        (1, 1, 2, 320, 352),
    ],
    ids=str,
)
def test_laplacian_pyramid_loss(shape, dtype, assert_as_exact):
    target, weight = normal(*shape, seed=1), torch.tensor([0.3, 4.6e4])[: shape[0]].double()

    def loss(form, other, w):
        return lambda output: form(output, other, w, 0.25)[0]

    output = on_gpu(normal(*shape), dtype)
    other, w = on_gpu(target, dtype), weight.float().cuda()
    one = torch.ones((), device="cuda")
    values = with_gradients(loss(laplacian_pyramid_loss, other, w), [output], one)
    again = with_gradients(loss(laplacian_pyramid_loss, other, w), [output], one)
    assert all(torch.equal(a, b) for a, b in zip(values, again, strict=True))
    exact = with_gradients(
        loss(plain_loss, other.cpu().double(), w.cpu().double()),
        [output.cpu().double()],
        one.cpu().double(),
    )
    same = with_gradients(loss(plain_loss, other.float(), w), [output.float()], one)
    assert_as_exact(values, (same[0], same[1].to(dtype)), exact)


@pytest.mark.parametrize(
    ("shape", "dtype", "row"),
    list(
        itertools.product(
            [(1, 1, 1, 1, 1), (3, 1, 3, 5, 7), (2, 1, 4, 64, 64)],
            DTYPES,
            [(0.9, -0.3, 0.7, 0.2, 1.5, -1.1), (0.9, -0.3, 0.0, 0.0, 1.5, -1.1)],
        )
    ),
)
def test_sampler_step(shape, dtype, row):
    x, output, previous = (normal(*shape, seed=i).float() for i in range(3))
    place = {
        "seed": 2**32 - 2,
        "step": 998,
        "subjects": torch.tensor([5, -3, 2**40])[: shape[0]],
        "samples": torch.tensor([0, 9, 2**32 - 1])[: shape[0]],
    }
    output = output.to(dtype)
    coefficients = torch.tensor(row, dtype=torch.float64)
    expected = plain_step(x, output.float(), previous, coefficients, **place)
    place |= {name: place[name].cuda() for name in ("subjects", "samples")}
    values = sampler_step(x.cuda(), output.cuda(), previous.cuda(), coefficients, **place)
    for value, right in zip(values, expected, strict=True):
        torch.testing.assert_close(value.cpu(), right, rtol=1e-6, atol=4e-6)


def test_noise_is_that_of_the_cpu_to_two_in_a_million():
    shape, subjects, samples = (1, 32, 128, 128), torch.tensor([5, -3]), torch.tensor([0, 9])
    zero = torch.zeros(2, *shape, device="cuda")
    row = torch.tensor([0.0, 0, 1, 0, 0, 0], dtype=torch.float64)
    noise, _ = sampler_step(
        zero, zero, zero, row, seed=7, step=3, subjects=subjects.cuda(), samples=samples.cuda()
    )
    expected = philox_normal(shape, seed=7, step=3, subjects=subjects, samples=samples)
    assert (noise.cpu() - expected).abs().max() <= 2e-6


def test_a_captured_graph_gives_the_same_bits():
    """No launcher allocates, waits or copies: each may be captured into a CUDA graph."""
    x = on_gpu(normal(*SHAPES[1]), torch.float32)
    weight, bias = normal(8, seed=1).float().cuda(), normal(8, seed=2).float().cuda()
    eager = group_norm_gelu(x, weight, bias)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = group_norm_gelu(x, weight, bias)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, eager)
