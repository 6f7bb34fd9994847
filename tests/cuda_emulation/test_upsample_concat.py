"""The CUDA kernels of upsample_concat, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops.upsample_concat import reference

# batch, channels of skip and x, fine volume, coarse volume
CASES = [
    (1, 8, 16, (4, 6, 8), (2, 3, 4)),
    (2, 3, 5, (5, 7, 9), (2, 3, 4)),
    (1, 1, 1, (1, 1, 1), (1, 1, 1)),
    (2, 8, 8, (3, 17, 4), (1, 1, 1)),
    (1, 4, 12, (2, 33, 5), (2, 16, 3)),
    (1, 16, 8, (1, 2, 3), (4, 5, 6)),
]
KINDS = [
    (torch.float32, False),
    (torch.float32, True),
    (torch.bfloat16, True),
    (torch.float16, True),
    (torch.float16, False),
]


def volumes(emulation, case, dtype, channels_last, offset):
    """(x, skip, upstream gradient) as [B, C, N], guarded, and the sizes of the call."""
    batch, skipped, channels, fine, coarse = case
    generator = torch.Generator().manual_seed(0)
    fine_n, coarse_n = torch.Size(fine).numel(), torch.Size(coarse).numel()

    def draw(channels, voxels):
        shape = (batch, channels, voxels)
        values = torch.randn(*shape, generator=generator)
        return emulation.tensor(
            shape, dtype, channels_last=channels_last, offset=offset, values=values
        )

    names = ("depth", "height", "width")
    sizes = {"batch": batch, "channels_skip": skipped, "channels_x": channels, "dtype": dtype}
    sizes |= dict(zip(names, fine, strict=True))
    sizes |= {f"coarse_{name}": size for name, size in zip(names, coarse, strict=True)}
    return draw(channels, coarse_n), draw(skipped, fine_n), draw(skipped + channels, fine_n), sizes


def by_torch(x, skip, upstream, case, dtype):
    _, _, _, fine, coarse = case
    x = x.detach().to(dtype).unflatten(2, coarse).requires_grad_()
    y = reference(x, skip.to(dtype).unflatten(2, fine))
    y.backward(upstream.to(dtype).unflatten(2, fine))
    return y.detach().flatten(2), x.grad.flatten(2)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("dtype", "channels_last"), KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_result_and_gradient(emulation, case, dtype, channels_last, offset):
    x, skip, upstream, sizes = volumes(emulation, case, dtype, channels_last, offset)
    layout = {"channels_last": channels_last, "offset": offset}
    y = emulation.tensor(tuple(upstream.shape), dtype, **layout)
    grad_x = emulation.tensor(tuple(x.shape), dtype, **layout)
    emulation.run("upsample_concat_forward", **sizes, skip=skip, x=x, y=y)
    emulation.run("upsample_concat_backward", **sizes, grad_y=upstream, grad_x=grad_x)
    exact_y, exact_grad = by_torch(x, skip, upstream, case, torch.float64)
    same_y, same_grad = by_torch(x, skip, upstream, case, dtype)
    emulation.compare("y", y, exact_y, same_y)
    emulation.compare("grad of x", grad_x, exact_grad, same_grad)
    assert torch.equal(y[:, : skip.shape[1]], skip)


def test_the_gradient_of_a_single_voxel_reaches_its_neighbours_alone(emulation):
    """The transpose of the interpolation, entry by entry."""
    case = (1, 1, 1, (4, 6, 8), (2, 3, 4))
    x, _, _, sizes = volumes(emulation, case, torch.float32, False, 0)
    for n in (0, 17, 100, 191):
        grad_y = emulation.tensor((1, 2, 192), torch.float32, values=torch.zeros(1, 2, 192))
        grad_y[0, 1, n] = 1.0
        grad_x = emulation.tensor(tuple(x.shape), torch.float32)
        emulation.run("upsample_concat_backward", **sizes, grad_y=grad_y, grad_x=grad_x)
        leaf = torch.zeros(1, 1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        y = reference(leaf, torch.zeros(1, 1, 4, 6, 8, dtype=torch.float64))
        y[0, 1].flatten()[n].backward()
        torch.testing.assert_close(
            grad_x.double().flatten(), leaf.grad.flatten(), atol=1e-6, rtol=0
        )
        assert ((grad_x.flatten() != 0) == (leaf.grad.flatten().abs() > 1e-6)).all()


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"width": 0}, 1), ({"coarse_depth": 1 << 25}, 1), ({"dtype": torch.float64}, 3)],
)
def test_what_is_refused(emulation, changed, code):
    x, skip, upstream, sizes = volumes(emulation, CASES[0], torch.float32, False, 0)
    status, _ = emulation.status(
        "upsample_concat_forward", **(sizes | changed), skip=skip, x=x, y=upstream
    )
    assert status == code
