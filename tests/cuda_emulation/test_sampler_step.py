"""The CUDA kernel of sampler_step, run on the CPU, against plain torch."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops.philox import philox_normal
from mri2pet.ops.sampler_step import reference

SUBJECTS, SAMPLES, SEED, STEP = [5, -3, 2**40], [0, 9, 2**32 - 1], 2**32 - 2, 998
ROWS = [
    [0.9, -0.3, 0.7, 0.2, 1.5, -1.1],
    [0.9, -0.3, 0.0, 0.2, 1.5, -1.1],
    [0.9, -0.3, 0.7, 0.0, 1.5, -1.1],
]


def step(emulation, x, output, previous, row, offset=0, in_place=False, table=None):
    """(new x, x0) by the kernel; `table`: the row and the step are read on the device."""
    new, x0 = (emulation.tensor(tuple(x.shape), torch.float32, offset=offset) for _ in range(2))
    if in_place:
        new.copy_(x)
        x0.copy_(previous)
        x, previous = new, x0
    rows = torch.tensor(ROWS, dtype=torch.float64)
    place = {"coefficients": rows[row].clone(), "step": STEP}
    if table is not None:
        steps = torch.full((len(ROWS),), -1)
        steps[row] = table
        place = {"coefficients": rows, "row": torch.tensor([row]), "timesteps": steps}
    emulation.run(
        "sampler_step",
        batch=x.shape[0],
        voxels=x.shape[1],
        output_dtype=output.dtype,
        x=x,
        output=output,
        previous_x0=previous,
        new_x=new,
        x0=x0,
        subjects=torch.tensor(SUBJECTS[: x.shape[0]]),
        samples=torch.tensor(SAMPLES[: x.shape[0]]),
        seed=SEED,
        **place,
    )
    return new, x0


def inputs(emulation, shape, dtype, offset=0):
    generator = torch.Generator().manual_seed(3)
    return [
        emulation.tensor(shape, d, offset=offset, values=torch.randn(shape, generator=generator))
        for d in (torch.float32, dtype, torch.float32)
    ]


def by_torch(x, output, previous, row):
    return reference(
        x,
        output.float(),
        previous,
        torch.tensor(ROWS[row], dtype=torch.float64),
        seed=SEED,
        step=STEP,
        subjects=torch.tensor(SUBJECTS[: x.shape[0]]),
        samples=torch.tensor(SAMPLES[: x.shape[0]]),
    )


@pytest.mark.parametrize("row", range(len(ROWS)))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 1024), (3, 2051)])
def test_sizes_dtypes_and_coefficients(emulation, shape, dtype, row):
    x, output, previous = inputs(emulation, shape, dtype)
    if ROWS[row][3] == 0:
        previous.fill_(float("nan"))
    new, x0 = step(emulation, x, output, previous, row)
    expected, expected_x0 = by_torch(x, output, previous, row)
    torch.testing.assert_close(new, expected, rtol=1e-6, atol=4e-6)
    torch.testing.assert_close(x0, expected_x0, rtol=1e-6, atol=1e-6)


def test_normals_agree_with_torch_to_two_in_a_million(emulation):
    x, output, previous = (v.zero_() for v in inputs(emulation, (3, 40000), torch.float32))
    new, _ = step(emulation, x, output, previous, 2)
    expected = philox_normal(
        (40000,),
        seed=SEED,
        step=STEP,
        subjects=torch.tensor(SUBJECTS),
        samples=torch.tensor(SAMPLES),
    )
    assert (new / torch.tensor(0.7) - expected).abs().max() <= 2e-6


@pytest.mark.parametrize("offset", [0, 1])
def test_in_place_and_off_a_16_byte_boundary(emulation, offset):
    x, output, previous = inputs(emulation, (2, 64), torch.bfloat16, offset)
    plain = step(emulation, x, output, previous, 0)
    again = step(emulation, x, output, previous, 0, offset=offset, in_place=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_the_row_and_the_step_may_be_read_on_the_device(emulation):
    x, output, previous = inputs(emulation, (2, 21), torch.float32)
    plain = step(emulation, x, output, previous, 0)
    table = step(emulation, x, output, previous, 0, table=STEP)
    assert all(torch.equal(a, b) for a, b in zip(plain, table, strict=True))
    other = step(emulation, x, output, previous, 0, table=STEP - 1)
    assert not torch.equal(plain[0], other[0])


def test_what_is_refused(emulation):
    x, output, previous = inputs(emulation, (1, 8), torch.float32)
    fields = {
        "batch": 1, "voxels": 8, "output_dtype": torch.float64, "x": x, "output": output,
        "previous_x0": previous, "new_x": x, "x0": previous, "coefficients": x, "subjects": x,
        "samples": x,
    }  # fmt: skip
    assert emulation.status("sampler_step", **fields)[0] == 3
    fields |= {"output_dtype": torch.float32, "x": None}
    assert emulation.status("sampler_step", **fields)[0] == 5
