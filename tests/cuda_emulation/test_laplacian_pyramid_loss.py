"""The CUDA kernels of laplacian_pyramid_loss, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops.laplacian_pyramid_loss import reference

WEIGHTS = [0.3, 4.6e4, 1.0]


def case(emulation, shape, output_dtype, target_dtype, offset=0):
    generator = torch.Generator().manual_seed(5)

    def draw(dtype):
        values = torch.randn(shape, generator=generator)
        return emulation.tensor(shape, dtype, offset=offset, values=values)

    weight = emulation.tensor((shape[0],), torch.float32, values=torch.tensor(WEIGHTS[: shape[0]]))
    return draw(output_dtype), draw(target_dtype), weight


def run(emulation, output, target, weight, factor, upstream=1.5, with_grad=True):
    """(terms [3], gradient of upstream · loss, or None)."""
    batch, slices, rows, columns = output.shape
    terms = emulation.tensor((3,), torch.float32)
    grad = emulation.tensor(tuple(output.shape), torch.float32) if with_grad else None
    emulation.run(
        "laplacian_pyramid_loss_forward",
        batch=batch, slices=slices, rows=rows, columns=columns, output_dtype=output.dtype,
        target_dtype=target.dtype, output=output, target=target, weight=weight,
        laplacian_weight=factor, terms=terms, grad=grad,
    )  # fmt: skip
    if grad is None:
        return terms, None
    grad_output = emulation.tensor(tuple(output.shape), output.dtype)
    emulation.run(
        "laplacian_pyramid_loss_backward",
        count=output.numel(), output_dtype=output.dtype, grad=grad,
        grad_loss=emulation.tensor((1,), torch.float32, values=torch.tensor([upstream])),
        grad_output=grad_output,
    )  # fmt: skip
    return terms, grad_output


def by_torch(output, target, weight, factor, dtype, upstream=1.5):
    leaf = output.detach().to(dtype).requires_grad_()
    values = reference(leaf[:, None], target.to(dtype)[:, None], weight.to(dtype), factor)
    (values[0] * upstream).backward()
    return torch.stack(values).detach(), leaf.grad.to(
        torch.float64 if dtype == torch.float64 else output.dtype
    )


def check(emulation, output, target, weight, factor):
    terms, grad = run(emulation, output, target, weight, factor)
    exact_terms, exact = by_torch(output, target, weight, factor, torch.float64)
    same_terms, same = by_torch(output, target, weight, factor, torch.float32)
    for i, name in enumerate(("loss", "mse", "laplacian")):
        emulation.compare(name, terms[i], exact_terms[i], same_terms[i])
    for b in range(len(weight)):
        emulation.compare(f"gradient of sample {b}", grad[b], exact[b], same[b])
    return terms, grad


@pytest.mark.parametrize("device", ["sm_90", "sm_86"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 32, 32), (2, 3, 33, 47), (1, 2, 48, 35), (3, 1, 63, 95), (1, 1, 128, 128)]
)
def test_sizes(emulation, shape, device):
    emulation.configure(device=device)
    check(emulation, *case(emulation, shape, torch.float32, torch.float32), 0.25)


@pytest.mark.parametrize(
    ("shape", "device"), [((1, 1, 150, 160), "sm_86"), ((2, 1, 300, 330), "sm_86")]
)
def test_slices_that_do_not_fit_into_shared_memory(emulation, shape, device):
    """First only the finest level goes to global memory, then every level."""
    emulation.configure(device=device)
    inputs = case(emulation, shape, torch.float32, torch.float32)
    terms, _ = check(emulation, *inputs, 0.25)
    without, _ = run(emulation, *inputs, 0.25, with_grad=False)
    assert torch.equal(terms, without)


@pytest.mark.parametrize("target_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("output_dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(emulation, output_dtype, target_dtype):
    check(emulation, *case(emulation, (2, 2, 32, 40), output_dtype, target_dtype), 0.25)


@pytest.mark.parametrize("factor", [0.0, 0.25, 7.0])
def test_factors(emulation, factor):
    check(emulation, *case(emulation, (2, 1, 36, 32), torch.float32, torch.float32), factor)


def test_tensors_that_miss_a_16_byte_boundary(emulation):
    check(emulation, *case(emulation, (1, 2, 32, 32), torch.float32, torch.float32, 1), 0.25)


def test_repeats_and_reversed_threads_give_the_same_bits(emulation):
    inputs = case(emulation, (2, 2, 45, 64), torch.float32, torch.float32)
    results = []
    for reverse in (False, False, True):
        emulation.configure(reverse=reverse)
        results.append(run(emulation, *inputs, 0.25))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_is_refused(emulation):
    output, target, weight = case(emulation, (1, 1, 32, 32), torch.float32, torch.float32)
    fields = {
        "batch": 1, "slices": 1, "rows": 32, "columns": 32, "output_dtype": torch.float32,
        "target_dtype": torch.float32, "output": output, "target": target, "weight": weight,
        "laplacian_weight": 0.25, "terms": weight, "grad": None,
    }  # fmt: skip
    op = "laplacian_pyramid_loss_forward"
    assert emulation.status(op, **fields | {"rows": 31})[0] == 1
    assert emulation.status(op, **fields | {"columns": 0})[0] == 1
    assert emulation.status(op, **fields | {"columns": 2**40})[0] == 1
    assert emulation.status(op, **fields | {"laplacian_weight": float("nan")})[0] == 4
    assert emulation.status(op, workspace=False, **fields)[0] == 6
    both = {"output_dtype": torch.float64, "target_dtype": torch.float64}
    assert emulation.status(op, **fields | both)[0] == 3
