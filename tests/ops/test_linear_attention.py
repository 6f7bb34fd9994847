"""The native linear attention against the paper's form in float64."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from mri2pet.ops import backend, linear_attention
from mri2pet.ops.linear_attention import folded, reference

pytestmark = pytest.mark.usefixtures("native")

SHAPES = [
    (1, 8, 1, 1, 1),
    (2, 16, 3, 5, 7),
    (1, 3, 17),
    (3, 1, 5, 5, 5),
    (2, 8, 9, 17, 31),
    (1, 32, 4, 8, 9),
    (1, 64, 4, 8, 8),
    (1, 128, 2, 4, 4),
]
OP = torch.ops.mri2pet.linear_attention.default


def make(shape, dtype=torch.float32, *, width=32, heads=4, seed=0, scale=1.0):
    """x, w_qkv, w_out, bias and an upstream gradient; the weights in the accumulation dtype."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    channels, depth = shape[1], heads * width
    weights = (
        scale * normal(3 * depth, channels) / channels**0.5,
        normal(channels, depth) / depth**0.5,
        normal(channels),
    )
    held = torch.float64 if dtype == torch.float64 else torch.float32
    return (normal(*shape).to(dtype), *(w.to(held) for w in weights)), normal(*shape).to(dtype)


def with_gradients(form, inputs, upstream, dtype=None):
    cast = [t.to(dtype) if dtype else t for t in inputs]
    leaves = [t.detach().requires_grad_() for t in cast]
    y = form(*leaves)
    return (y, *torch.autograd.grad(y, leaves, upstream.to(y.dtype)))


@pytest.fixture(autouse=True)
def _kernels():
    """The kernels at every size: by default the smallest sizes are left to torch."""
    with backend.use_backend("native"):
        yield


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_as_exact_as_torchs(
    shape, dtype, assert_as_exact, nan_filled, request
):
    inputs, upstream = make(shape, dtype)
    exact = with_gradients(reference, inputs, upstream, torch.float64)
    plain = with_gradients(folded, inputs, upstream, dtype)
    y, *grads = with_gradients(linear_attention, inputs, upstream)
    assert y.dtype == dtype
    assert all(g.dtype == t.dtype for g, t in zip(grads, inputs, strict=True))
    assert_as_exact((y, *grads), plain, exact)
    if len(shape) == 5:
        last = inputs[0].to(memory_format=torch.channels_last_3d)
        results = with_gradients(linear_attention, (last, *inputs[1:]), upstream)
        assert results[0].is_contiguous(memory_format=torch.channels_last_3d)
        assert_as_exact(results, plain, exact)


def test_strided_input_and_upstream_gradient(assert_as_exact):
    inputs, upstream = make((2, 8, 4, 6, 10))
    wide = torch.randn(2, 16, 4, 12, 10)
    wide[:, ::2, :, ::2] = inputs[0]
    strided = wide[:, ::2, :, ::2]
    assert not strided.is_contiguous()
    exact = with_gradients(reference, inputs, upstream, torch.float64)
    plain = with_gradients(folded, inputs, upstream)
    for gradient in (upstream, upstream.to(memory_format=torch.channels_last_3d)):
        results = with_gradients(linear_attention, (strided, *inputs[1:]), gradient)
        assert_as_exact(results, plain, exact)


@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_large_keys_neither_overflow_nor_vanish(scale, assert_as_exact):
    inputs, upstream = make((1, 8, 8, 16, 16), scale=scale)
    exact = with_gradients(reference, inputs, upstream, torch.float64)
    plain = with_gradients(folded, inputs, upstream)
    assert_as_exact(with_gradients(linear_attention, inputs, upstream), plain, exact)


def test_keys_far_below_zero_keep_their_sum():
    """A maximum that counted padding as 0 would let every exponential vanish."""
    inputs, _ = make((1, 4, 1, 1, 5))
    inputs[0].fill_(-1.0)
    inputs[1].fill_(80.0)
    torch.testing.assert_close(
        linear_attention(*inputs).double(),
        reference(*(t.double() for t in inputs)),
        rtol=1e-5,
        atol=1e-5,
    )


def test_results_repeat_bit_for_bit_for_any_number_of_threads(restored_threads):
    inputs, upstream = make((2, 8, 16, 24, 33))
    results = []
    for threads in (1, 2, 3, 3):
        torch.set_num_threads(threads)
        results.append(with_gradients(linear_attention, inputs, upstream))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_other_heads_and_widths(assert_as_exact):
    inputs, upstream = make((2, 5, 3, 4, 5), heads=3, width=7)
    forms = [
        lambda *a, form=form: form(*a, heads=3) for form in (linear_attention, folded, reference)
    ]
    exact = with_gradients(forms[2], inputs, upstream, torch.float64)
    plain = with_gradients(forms[1], inputs, upstream)
    assert_as_exact(with_gradients(forms[0], inputs, upstream), plain, exact)


def test_nan_in_one_sample_stays_there():
    inputs, _ = make((2, 8, 2, 4, 4))
    inputs[0][1, 3, 0, 0, 0] = float("nan")
    y = linear_attention(*inputs)
    assert torch.isfinite(y[0]).all()
    assert torch.isnan(y[1]).all()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(last, dtype):
    inputs, _ = make((2, 8, 3, 4, 5), dtype)
    x = inputs[0].to(memory_format=torch.channels_last_3d) if last else inputs[0]
    leaves = [t.detach().requires_grad_() for t in (x, *inputs[1:])]
    torch.library.opcheck(OP, (*leaves, 4))
    with torch.no_grad():
        y, *saved = OP(*leaves, 4)
    backward = torch.ops.mri2pet.linear_attention_backward.default
    torch.library.opcheck(backward, (torch.ones_like(y), x, *inputs[1:3], *saved, 4))


def test_gradcheck():
    inputs, _ = make((2, 3, 2, 3, 3), torch.float64, width=2, heads=2)
    leaves = [t.requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(lambda *a: linear_attention(*a, heads=2), leaves)


def test_compiles_as_one_graph_and_exports():
    inputs, upstream = make((1, 8, 3, 4, 5))
    compiled = torch.compile(linear_attention, fullgraph=True, backend="aot_eager")
    eager = with_gradients(linear_attention, inputs, upstream)
    for a, b in zip(with_gradients(compiled, inputs, upstream), eager, strict=True):
        torch.testing.assert_close(a, b)

    class Block(torch.nn.Module):
        def forward(self, *tensors):
            return linear_attention(*tensors)

    program = torch.export.export(Block(), inputs)
    assert "mri2pet.linear_attention" in str(program.graph)
    torch.testing.assert_close(program.module()(*inputs), eager[0])


def test_autocast_takes_activations_down_and_leaves_the_weights():
    inputs, upstream = make((1, 8, 3, 4, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, *grads = with_gradients(linear_attention, inputs, upstream)
    direct = linear_attention(inputs[0].bfloat16(), *inputs[1:])
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, direct)
    assert all(g.dtype == torch.float32 for g in grads)


@pytest.mark.parametrize(
    ("voxels", "dtype", "kernels"),
    [(128, torch.float32, False), (129, torch.float32, True), (128, torch.bfloat16, True)],
)
def test_few_voxels_are_left_to_torch(voxels, dtype, kernels, monkeypatch):
    module, calls = import_module("mri2pet.ops.linear_attention"), []
    forward = module._forward
    monkeypatch.setattr(module, "_forward", lambda *given: calls.append(1) or forward(*given))
    (x, *weights), _ = make((2, 8, voxels, 1, 1), dtype)
    x = x.to(memory_format=torch.channels_last_3d)
    with backend.use_backend("auto"):
        y = linear_attention(x, *weights)
    assert bool(calls) == kernels
    assert y.stride() == x.stride()
    torch.testing.assert_close(y, linear_attention(x, *weights), rtol=1e-5, atol=1e-5)


def test_autocast_of_few_voxels_stays_with_the_kernels():
    inputs, _ = make((1, 8, 3, 4, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16), backend.use_backend("auto"):
        y = linear_attention(*inputs)
    assert torch.equal(y, linear_attention(inputs[0].bfloat16(), *inputs[1:]))


def test_every_form_gives_the_same_result():
    inputs, _ = make((1, 8, 3, 4, 5))
    results = []
    for name in ("native", "folded", "reference"):
        with backend.use_backend(name):
            results.append(linear_attention(*inputs))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(results[0], results[2], rtol=1e-4, atol=1e-5)


def test_what_cannot_work_is_refused():
    inputs, _ = make((1, 8, 3, 4, 5))
    x, *weights = inputs
    with pytest.raises(ValueError, match=r"w_qkv \(384, 7\)"):
        linear_attention(x, weights[0][:, :7], *weights[1:])
    with pytest.raises(ValueError, match="voxels 0"):
        linear_attention(x[..., :0], *weights)
    with pytest.raises(ValueError, match="batch 0"):
        linear_attention(x[:0], *weights)
    with pytest.raises(TypeError, match="int32"):
        linear_attention(x.int(), *weights)
    with pytest.raises(ValueError, match="bias"):
        linear_attention(x, *weights[:2], torch.zeros(5))
    with pytest.raises(ValueError, match=r"w_qkv .* is on meta"):
        linear_attention(x, weights[0].to("meta"), *weights[1:])
