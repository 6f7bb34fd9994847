"""conv3d on a GPU, through its public function, against plain torch in float64 on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from mri2pet.nn.blocks import DoubleConv
from mri2pet.ops import backend
from mri2pet.ops.apply_norm import apply_norm
from mri2pet.ops.conv3d import InputNorm, conv3d, merge, reference
from mri2pet.ops.convolution_choice import use_convolution

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("native", "nan_filled")]

HALVES = [torch.float16, torch.bfloat16]
# Batch, volume, channels in and out.
SIZES = [
    (1, (1, 1, 1), 1, 1),
    (3, (2, 5, 3), 1, 8),
    (1, (5, 17, 17), 5, 9),
    (2, (9, 33, 34), 8, 8),
    (1, (4, 16, 64), 8, 16),
    (1, (7, 17, 31), 12, 8),
    (2, (3, 18, 35), 16, 16),
    (1, (8, 48, 80), 24, 24),
    (1, (5, 40, 40), 24, 12),
    (2, (4, 32, 40), 48, 48),
    (1, (3, 9, 65), 47, 24),
]


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_gpu(tensor, dtype):
    return tensor.to("cuda", dtype).contiguous(memory_format=torch.channels_last_3d)


def inputs_of(size, dtype):
    batch, volume, cin, cout = size
    x = on_gpu(normal(batch, cin, *volume) * 2 + 0.5, dtype)
    weight = on_gpu(normal(cout, cin, 3, 3, 3, seed=1) / (27 * cin) ** 0.5, dtype)
    return x, weight


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_tile(size, dtype, assert_as_exact):
    x, weight = inputs_of(size, dtype)
    exact = F.conv3d(x.cpu().double(), weight.cpu().double(), padding=1)
    for variant in range(backend.native().conv3d_variants):
        for planes in (0, 1, 3):
            y, parts = conv3d(x, weight, statistics=True, variant=variant, planes=planes)
            assert_as_exact((y.cpu(),), (exact.to(dtype),), (exact,))
            mean, variance = merge(parts.cpu())
            own = y.cpu().double().flatten(1)
            torch.testing.assert_close(mean, own.mean(1), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(variance, own.var(1, correction=0), rtol=1e-4, atol=1e-12)
            again, parts_again = conv3d(x, weight, statistics=True, variant=variant, planes=planes)
            assert torch.equal(y, again)
            assert torch.equal(parts, parts_again)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("channels", "channels2", "out"), [(24, 0, 12), (8, 16, 24), (16, 32, 48)])
def test_norm_on_load_and_a_second_input(channels, channels2, out, dtype, assert_as_exact):
    x, weight = inputs_of((2, (6, 20, 37), channels + channels2, out), dtype)
    scale, shift = (normal(x.shape[1], seed=s).float().cuda() for s in (2, 3))
    values = x.float().flatten(1)
    variance, mean = torch.var_mean(values, 1, correction=0)
    count = torch.full_like(mean, values.shape[1])
    norm = InputNorm(torch.stack((mean, variance * count, count), 1)[:, None], scale, shift)
    first, second = (x, None) if channels2 == 0 else x.split((channels, channels2), 1)
    y, _ = conv3d(first, weight, second, norm)
    on_cpu = InputNorm(*(t.cpu().double() for t in norm[:3]))
    exact = reference(x.cpu().double(), weight.cpu().double(), norm=on_cpu)
    same = F.gelu(F.group_norm(x, 1, scale.to(dtype), shift.to(dtype)))
    same = F.conv3d(same.cpu().double(), weight.cpu().double(), padding=1).to(dtype)
    assert_as_exact((y.cpu(),), (same,), (exact,))


def test_a_chain_takes_its_statistics_from_the_convolution_before(assert_as_exact):
    x, weight = inputs_of((1, (8, 32, 48), 24, 24), torch.float16)
    scale, shift = (normal(24, seed=s).float().cuda() for s in (2, 3))
    middle, parts = conv3d(x, weight, statistics=True)
    y, _ = conv3d(middle, weight, norm=InputNorm(parts, scale, shift))
    h = F.group_norm(middle.cpu().double(), 1, scale.cpu().double(), shift.cpu().double())
    exact = F.conv3d(F.gelu(h), weight.cpu().double(), padding=1)
    assert_as_exact((y.cpu(),), (exact.half(),), (exact,))


def test_a_captured_graph_gives_the_same_bits():
    x, weight = inputs_of((1, (4, 32, 32), 16, 16), torch.float16)
    eager, parts = conv3d(x, weight, statistics=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured, captured_parts = conv3d(x, weight, statistics=True)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, eager)
    assert torch.equal(captured_parts, parts)


def test_schema_and_fake():
    x, weight = inputs_of((1, (2, 9, 9), 8, 8), torch.float16)
    operation = torch.ops.mri2pet.conv3d.default
    arguments = (x, weight, None, None, None, None, 0.0, False, 0, 0)
    torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("channels", "channels2"), [(8, 0), (8, 16), (48, 0)])
def test_apply_norm(channels, channels2, dtype, assert_as_exact):
    shape = (2, channels + channels2, 5, 17, 33)
    x, residual = (on_gpu(normal(*shape, seed=s) * 2 + s, dtype) for s in (0, 1))
    scale, shift = (normal(shape[1], seed=s).float().cuda() for s in (2, 3))
    bias = normal(*shape[:2], seed=4).float().cuda()
    values = x.double().flatten(1)
    variance, mean = torch.var_mean(values, 1, correction=0)
    count = torch.full_like(mean, values.shape[1])
    parts = torch.stack((mean, variance * count, count), 1)[:, None].float()
    pieces = residual.split((channels, channels2), 1) if channels2 else (residual,)
    y = apply_norm(x, InputNorm(parts, scale, shift), *pieces, channel_bias=bias)
    assert torch.equal(y, apply_norm(x, InputNorm(parts, scale, shift), *pieces, channel_bias=bias))

    def plain(kind):
        h = F.group_norm(x.to(kind), 1, scale.to(kind), shift.to(kind)) + residual.to(kind)
        return F.gelu(h + bias.to(kind)[:, :, None, None, None]).cpu()

    assert_as_exact((y.cpu(),), (plain(dtype),), (plain(torch.float64),))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    ("cin", "mid", "cout", "residual"),
    [(1, 8, 8, False), (24, 24, 24, True), (24, 12, 8, False), (48, 48, 48, True)],
)
def test_a_block_of_the_network(cin, mid, cout, residual, dtype, assert_as_exact):
    """Both convolutions, their norms and the residual, fused, as exact as the library's form."""
    block = DoubleConv(cin, cout, mid, residual).cuda().requires_grad_(False)
    for conv in (block.conv1, block.conv2):
        conv.to(dtype)
        conv.weight.data = on_gpu(conv.weight.data, dtype)
    x = on_gpu(normal(2, cin, 4, 20, 24), dtype)
    bias = normal(2, cout, seed=1).float().cuda()
    given = (x, None if residual else bias)
    with use_convolution("native"):
        y = block(*given)
        assert torch.equal(y, block(*given))
    with use_convolution("library"):
        same = block(*given)
    exact = copy.deepcopy(block).cpu().double()
    with backend.use_backend("reference"):
        exact = exact(x.cpu().double(), None if residual else bias.cpu().double())
    assert_as_exact((y.cpu(),), (same.cpu(),), (exact,))
