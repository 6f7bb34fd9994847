"""The native norm against plain torch in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from mri2pet.ops import group_norm_gelu
from mri2pet.ops.group_norm_gelu import reference

pytestmark = pytest.mark.usefixtures("native")

SHAPES = [(2, 8, 1, 1, 1), (1, 1, 3, 1, 17), (2, 3, 5, 7, 9), (2, 24, 4, 16, 31), (1, 17, 300)]
OP = torch.ops.mri2pet.group_norm_gelu.default


def make(shape, dtype=torch.float32, *, residual=True, channel_bias=True, offset=0.5):
    """x, weight, bias, residual, channel_bias and an upstream gradient."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    held = torch.float64 if dtype == torch.float64 else torch.float32
    x, upstream, added = (normal(*shape).to(dtype) for _ in range(3))
    weight, bias = 1 + 0.2 * normal(shape[1]).to(held), normal(shape[1]).to(held)
    per_channel = normal(*shape[:2]).to(held)
    inputs = (
        x + offset,
        weight,
        bias,
        added if residual else None,
        per_channel if channel_bias else None,
    )
    return inputs, upstream


def with_gradients(form, inputs, upstream, dtype=None, **options):
    leaves = [
        None if t is None else t.detach().to(dtype or t.dtype).requires_grad_() for t in inputs
    ]
    y = form(*leaves, **options)
    there = [leaf for leaf in leaves if leaf is not None]
    return (y, *torch.autograd.grad(y, there, upstream.to(y.dtype)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_as_exact_as_torchs(shape, dtype, assert_as_exact, nan_filled):
    for residual, channel_bias, gelu in itertools.product((False, True), repeat=3):
        inputs, upstream = make(shape, dtype, residual=residual, channel_bias=channel_bias)
        exact = with_gradients(reference, inputs, upstream, torch.float64, gelu=gelu)
        plain = with_gradients(reference, inputs, upstream, dtype, gelu=gelu)
        values = with_gradients(group_norm_gelu, inputs, upstream, gelu=gelu)
        assert values[0].dtype == dtype
        assert_as_exact(values, plain, exact)
        if len(shape) == 5:
            last = inputs[0].to(memory_format=torch.channels_last_3d)
            values = with_gradients(group_norm_gelu, (last, *inputs[1:]), upstream, gelu=gelu)
            assert values[0].is_contiguous(memory_format=torch.channels_last_3d)
            assert_as_exact(values, plain, exact)


@pytest.mark.parametrize("last", [False, True])
def test_many_chunks_and_a_mean_far_from_zero(last, assert_as_exact):
    inputs, upstream = make((1, 5, 16, 64, 65), offset=100.0)
    x = inputs[0].to(memory_format=torch.channels_last_3d) if last else inputs[0]
    exact = with_gradients(reference, inputs, upstream, torch.float64)
    plain = with_gradients(reference, inputs, upstream)
    assert_as_exact(with_gradients(group_norm_gelu, (x, *inputs[1:]), upstream), plain, exact)


def test_strided_input_and_mixed_layouts(assert_as_exact):
    inputs, upstream = make((2, 6, 4, 6, 10))
    wide = torch.zeros(2, 6, 4, 6, 20)
    wide[..., ::2] = inputs[0]
    exact = with_gradients(reference, inputs, upstream, torch.float64)
    plain = with_gradients(reference, inputs, upstream)
    last = torch.channels_last_3d
    for x, residual, gradient in (
        (wide[..., ::2], inputs[3].to(memory_format=last), upstream),
        (inputs[0].to(memory_format=last), inputs[3], upstream),
        (inputs[0], inputs[3], upstream.to(memory_format=last)),
    ):
        mixed = (x, *inputs[1:3], residual, inputs[4])
        assert_as_exact(with_gradients(group_norm_gelu, mixed, gradient), plain, exact)


def test_gelu_is_exact_over_its_whole_range():
    x = torch.linspace(-40, 40, 20_001).reshape(1, 1, -1)
    std, mean = x.std(correction=0), x.mean()
    y = group_norm_gelu(x, std[None], mean[None], eps=0.0)
    exact = torch.nn.functional.gelu(x.double())
    assert (y.double() - exact).abs().max() < 1e-5
    near = exact.abs() < 4
    assert (y.double() - exact)[near].abs().max() < 2e-6


def test_results_repeat_bit_for_bit_for_any_number_of_threads(restored_threads):
    inputs, upstream = make((2, 8, 16, 32, 33))
    results = []
    for threads in (1, 2, 3, 3):
        torch.set_num_threads(threads)
        results.append(with_gradients(group_norm_gelu, inputs, upstream))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_opcheck(added, last):
    inputs, _ = make((2, 8, 3, 4, 5), residual=added, channel_bias=added)
    x = inputs[0].to(memory_format=torch.channels_last_3d) if last else inputs[0]
    tensors = [None if t is None else t.detach() for t in (x, *inputs[1:])]
    leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
    torch.library.opcheck(OP, (*leaves, True, 1e-5))
    y, *saved = OP(*tensors, True, 1e-5)
    backward = torch.ops.mri2pet.group_norm_gelu_backward.default
    torch.library.opcheck(backward, (torch.ones_like(y), *tensors, *saved, True))


@pytest.mark.parametrize("gelu", [False, True])
def test_gradcheck(gelu):
    inputs, _ = make((2, 3, 2, 2, 3), torch.float64)
    leaves = [t.requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(lambda *a: group_norm_gelu(*a, gelu=gelu), leaves)


def test_compiles_as_one_graph_and_exports():
    inputs, upstream = make((1, 8, 3, 4, 5))
    compiled = torch.compile(group_norm_gelu, fullgraph=True, backend="aot_eager")
    eager = with_gradients(group_norm_gelu, inputs, upstream)
    for a, b in zip(with_gradients(compiled, inputs, upstream), eager, strict=True):
        torch.testing.assert_close(a, b)

    class Block(torch.nn.Module):
        def forward(self, *tensors):
            return group_norm_gelu(*tensors)

    program = torch.export.export(Block(), inputs)
    assert "mri2pet.group_norm_gelu" in str(program.graph)
    torch.testing.assert_close(program.module()(*inputs), eager[0])


def test_autocast_keeps_the_dtype_of_x():
    inputs, _ = make((1, 8, 3, 4, 5))
    half = inputs[0].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert group_norm_gelu(*inputs).dtype == torch.float32
        y = group_norm_gelu(half, *inputs[1:])
    assert y.dtype == torch.bfloat16
    same = group_norm_gelu(half, *inputs[1:3], inputs[3].bfloat16(), inputs[4])
    assert torch.equal(y, same)


def test_what_cannot_work_is_refused():
    inputs, _ = make((2, 8, 3, 4, 5))
    x, *others = inputs
    with pytest.raises(ValueError, match="voxels 0"):
        group_norm_gelu(x[..., :0], *others[:2])
    with pytest.raises(ValueError, match="batch 0"):
        group_norm_gelu(x[:0], *others[:2])
    with pytest.raises(TypeError, match="int64"):
        group_norm_gelu(x.long(), *others[:2])
    with pytest.raises(ValueError, match="eps"):
        group_norm_gelu(x, *others[:2], eps=float("nan"))
    with pytest.raises(ValueError, match=r"weight .* is on meta"):
        group_norm_gelu(x, others[0].to("meta"), others[1])
