"""The native loss and its gradient against plain torch in float64."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops import laplacian_pyramid_loss
from mri2pet.ops.laplacian_pyramid_loss import reference

pytestmark = pytest.mark.usefixtures("native")

SHAPES = [(1, 1, 1, 32, 32), (2, 1, 3, 48, 33), (3, 1, 2, 37, 64), (1, 1, 5, 35, 61)]
OP = torch.ops.mri2pet.laplacian_pyramid_loss.default


def make(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    held = torch.float64 if dtype == torch.float64 else torch.float32
    weight = torch.rand(shape[0], generator=generator, dtype=torch.float64) * 40
    return output.to(dtype), target.to(dtype), weight.to(held)


def with_gradient(form, output, target, weight, factor=0.25):
    leaf = output.detach().requires_grad_()
    terms = form(leaf, target, weight, factor)
    return (*terms, *torch.autograd.grad(terms[0] * 3, leaf))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 1, 4, 128, 128)], ids=str)
def test_terms_and_gradient_are_as_exact_as_torchs(shape, dtype, assert_as_exact, nan_filled):
    inputs = make(shape, dtype)
    exact = with_gradient(reference, *(t.double() for t in inputs))
    plain = with_gradient(lambda o, t, w, f: reference(o.to(w.dtype), t.to(w.dtype), w, f), *inputs)
    values = with_gradient(laplacian_pyramid_loss, *inputs)
    assert values[3].dtype == dtype
    assert_as_exact(values, plain, exact)


def test_mixed_dtypes_and_strides(assert_as_exact):
    output, target, weight = make((2, 1, 3, 40, 44), torch.bfloat16)
    precise = target.float() + 1e-3
    wide = torch.zeros(2, 1, 3, 40, 88)
    wide[..., ::2] = precise
    exact = with_gradient(reference, output.double(), precise.double(), weight.double())
    plain = with_gradient(lambda o, *rest: reference(o.float(), *rest), output, precise, weight)
    assert_as_exact(
        with_gradient(laplacian_pyramid_loss, output, wide[..., ::2], weight), plain, exact
    )


@pytest.mark.parametrize("factor", [0.0, 1e3])
def test_other_weights_of_the_laplacian_term(factor, assert_as_exact):
    inputs = make((2, 1, 2, 32, 48))
    exact = with_gradient(reference, *(t.double() for t in inputs), factor)
    plain = with_gradient(reference, *inputs, factor)
    assert_as_exact(with_gradient(laplacian_pyramid_loss, *inputs, factor), plain, exact)


def test_no_gradient_is_kept_when_none_is_wanted():
    inputs = make((2, 1, 2, 32, 48))
    terms, grad = OP(*inputs, 0.25, False)
    assert grad.numel() == 0
    with torch.no_grad():
        assert torch.equal(laplacian_pyramid_loss(*inputs, 0.25)[0], terms[0])
    leaf = inputs[0].requires_grad_()
    loss, mse, laplacian = laplacian_pyramid_loss(leaf, *inputs[1:], 0.25)
    assert loss.requires_grad
    assert not mse.requires_grad
    assert not laplacian.requires_grad


def test_a_gradient_of_one_gives_the_bits_of_any_other():
    output, target, weight = make((2, 1, 2, 32, 48))
    leaf = output.requires_grad_()
    loss, *_ = laplacian_pyramid_loss(leaf, target, weight, 0.25)
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (doubled,) = torch.autograd.grad(loss * 2, leaf, retain_graph=True)
    (again,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    assert torch.equal(first * 2, doubled)
    assert torch.equal(first, again)
    first.mul_(2)  # it may be what the graph holds: then a further pass is refused, never wrong
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, leaf)


def test_two_backward_passes_add_up():
    output, target, weight = make((2, 1, 2, 32, 48))
    leaf = output.requires_grad_()
    loss, *_ = laplacian_pyramid_loss(leaf, target, weight, 0.25)
    loss.backward(retain_graph=True)
    once = leaf.grad.clone()
    loss.backward()
    assert torch.equal(leaf.grad, once * 2)


def test_gradient_of_the_target_is_the_outputs_with_its_sign_turned():
    output, target, weight = make((1, 1, 2, 32, 36))
    leaves = (output.requires_grad_(), target.requires_grad_())
    loss, *_ = laplacian_pyramid_loss(*leaves, weight, 0.25)
    a, b = torch.autograd.grad(loss, leaves)
    assert torch.equal(a, -b)


def test_results_repeat_bit_for_bit_for_any_number_of_threads(restored_threads):
    inputs = make((2, 1, 7, 45, 64))
    results = []
    for threads in (1, 2, 3, 3):
        torch.set_num_threads(threads)
        results.append(with_gradient(laplacian_pyramid_loss, *inputs))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype):
    output, target, weight = make((2, 1, 2, 32, 33), dtype)
    torch.library.opcheck(OP, (output.clone().requires_grad_(), target, weight, 0.25, True))
    torch.library.opcheck(OP, (output, target, weight, 0.25, False))
    backward = torch.ops.mri2pet.laplacian_pyramid_loss_backward.default
    grad = torch.randn(output.shape)
    torch.library.opcheck(backward, (grad, torch.tensor(2.0), output))


def test_gradcheck():
    output, target, weight = make((1, 1, 1, 32, 35), torch.float64)
    leaf = output.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda o: laplacian_pyramid_loss(o, target, weight, 0.25)[0], leaf, fast_mode=True
    )


def test_compiles_as_one_graph_and_exports():
    inputs = make((1, 1, 2, 32, 32))
    compiled = torch.compile(laplacian_pyramid_loss, fullgraph=True, backend="aot_eager")
    eager = with_gradient(laplacian_pyramid_loss, *inputs)
    for a, b in zip(with_gradient(compiled, *inputs), eager, strict=True):
        torch.testing.assert_close(a, b)

    class Objective(torch.nn.Module):
        def forward(self, *tensors):
            return laplacian_pyramid_loss(*tensors, 0.25)

    program = torch.export.export(Objective(), inputs)
    assert "mri2pet.laplacian_pyramid_loss" in str(program.graph)
    torch.testing.assert_close(program.module()(*inputs)[0], eager[0])


def test_autocast_does_not_round_the_loss():
    inputs = make((1, 1, 2, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, *_ = laplacian_pyramid_loss(*inputs, 0.25)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, laplacian_pyramid_loss(*inputs, 0.25)[0])


def test_what_cannot_work_is_refused():
    output, target, weight = make((2, 1, 2, 32, 32))
    with pytest.raises(ValueError, match="batch 0"):
        laplacian_pyramid_loss(output[:0], target[:0], weight[:0], 0.25)
    with pytest.raises(ValueError, match="too small"):
        laplacian_pyramid_loss(output[..., :1], target[..., :1], weight, 0.25)
    with pytest.raises(ValueError, match="not usable"):
        laplacian_pyramid_loss(output, target, weight, float("inf"))
    with pytest.raises(ValueError, match="do not fit"):
        laplacian_pyramid_loss(output, target[:1], weight, 0.25)
    with pytest.raises(TypeError, match="int32"):
        laplacian_pyramid_loss(output.int(), target, weight, 0.25)
    with pytest.raises(ValueError, match=r"target .* is on meta"):
        laplacian_pyramid_loss(output, target.to("meta"), weight, 0.25)
