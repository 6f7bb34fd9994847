"""The native sampling step against plain torch: the same update with the same noise."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops import backend, philox_normal, sampler_step

pytestmark = pytest.mark.usefixtures("native")

ROW = torch.tensor([0.9, -0.3, 0.2, 0.4, 1.1, -0.7], dtype=torch.float64)
OP = torch.ops.mri2pet.sampler_step.default


def make(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, *shape, generator=generator).unbind(0)


def step(tensors, row=ROW, *, subjects, samples, seed=11, t=400):
    return sampler_step(
        *tensors,
        row,
        seed=seed,
        step=t,
        subjects=torch.tensor(subjects),
        samples=torch.tensor(samples),
    )


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (3, 1, 3, 5, 7), (2, 1, 9, 31, 61)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_update_and_noise_are_the_references(shape, dtype, nan_filled):
    x, output, before = make(shape)
    tensors = (x, output.to(dtype), before)
    names = {"subjects": [-3, 2**62 + 5, 7][: shape[0]], "samples": [0, 2**32 - 1, 4][: shape[0]]}
    native = step(tensors, **names)
    with backend.use_backend("reference"):
        plain = step(tensors, **names)
    for a, b in zip(native, plain, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-6, atol=3e-6)


def test_noise_alone_differs_by_less_than_2e_6():
    zero = torch.zeros(2, 1, 8, 64, 64)
    row = torch.tensor([0, 0, 1, 0, 0, 0], dtype=torch.float64)
    z, x0 = step((zero, zero, zero), row, subjects=[5, 2**40], samples=[1, 0])
    exact = philox_normal(
        (1, 8, 64, 64),
        seed=11,
        step=400,
        subjects=torch.tensor([5, 2**40]),
        samples=torch.tensor([1, 0]),
    )
    assert (z - exact).abs().max() < 2e-6
    assert not x0.any()


def test_a_sample_does_not_depend_on_its_batch_or_the_threads(restored_threads):
    tensors = make((3, 1, 4, 24, 33))
    names = {"subjects": [1, 2, 2], "samples": [0, 0, 1]}
    batch = step(tensors, **names)
    torch.set_num_threads(1)
    assert torch.equal(step(tensors, **names)[0], batch[0])
    alone = step([t[2:] for t in tensors], subjects=[2], samples=[1])
    assert torch.equal(alone[0][0], batch[0][2])
    assert torch.equal(alone[1][0], batch[1][2])


def test_what_is_not_used_is_not_read():
    x, output, _ = make((1, 1, 2, 3, 5))
    nan = torch.full_like(x, float("nan"))
    row = ROW.clone()
    row[3] = 0
    assert torch.isfinite(step((x, output, nan), row, subjects=[1], samples=[0])[0]).all()
    row[2] = 0
    new, x0 = step((x, output, nan), row, subjects=[1], samples=[0])
    torch.testing.assert_close(new, 0.9 * x - 0.3 * output)
    torch.testing.assert_close(x0, 1.1 * x - 0.7 * output)


def test_opcheck_compile_and_export():
    tensors = make((2, 1, 2, 5, 7))
    subjects, samples = torch.tensor([3, 4]), torch.tensor([0, 1])
    arguments = (*tensors, ROW, subjects, samples, 11, 400)
    torch.library.opcheck(OP, arguments)
    eager = OP(*arguments)

    class Step(torch.nn.Module):
        def forward(self, x, output, before, row, subjects, samples):
            return sampler_step(
                x, output, before, row, seed=11, step=400, subjects=subjects, samples=samples
            )

    compiled = torch.compile(Step(), fullgraph=True, backend="aot_eager")
    program = torch.export.export(Step(), arguments[:6])
    assert "mri2pet.sampler_step" in str(program.graph)
    for form in (compiled, program.module()):
        assert all(torch.equal(a, b) for a, b in zip(form(*arguments[:6]), eager, strict=True))


def test_what_cannot_work_is_refused():
    x, output, before = make((1, 1, 2, 3, 5))
    names = {"subjects": [1], "samples": [0]}
    with pytest.raises(ValueError, match="seed -1"):
        step((x, output, before), seed=-1, **names)
    with pytest.raises(ValueError, match="step 4294967296"):
        step((x, output, before), t=2**32, **names)
    with pytest.raises(ValueError, match=r"coefficients \(5,\)"):
        step((x, output, before), ROW[:5], **names)
    with pytest.raises(TypeError, match="float32"):
        step((x.double(), output, before), **names)
    with pytest.raises(ValueError, match="voxels 0"):
        step([t[..., :0] for t in (x, output, before)], **names)
    with pytest.raises(ValueError, match=r"output .* is on meta"):
        step((x, output.to("meta"), before), **names)
