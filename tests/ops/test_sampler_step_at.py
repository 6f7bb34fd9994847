"""The step that reads its row on the device, against the one that takes it from the host."""

from __future__ import annotations

import pytest
import torch

from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import STEPS
from mri2pet.ops import backend, philox_normal, sampler_step, sampler_step_at

pytestmark = pytest.mark.usefixtures("native")

SHAPE = (2, 1, 3, 5, 7)
OP = torch.ops.mri2pet.sampler_step_at.default


def names(device="cpu"):
    subjects, samples = torch.tensor([-3, 2**40]), torch.tensor([0, 2**32 - 1])
    return {"seed": 11, "subjects": subjects.to(device), "samples": samples.to(device)}


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(4)
    x, output, x0 = torch.randn(3, *SHAPE, generator=generator).unbind(0)
    return x.clone(), output.to(dtype), x0.clone()


def table():
    made = make_table("ddim", "v", 5, eta=0.7)
    made.coefficients[2, 3] = 0.4  # a row with all six
    return made


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("form", ["native", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_row_is_the_step_from_the_host(row, form, dtype):
    x, output, x0 = tensors(dtype)
    t = table()
    with backend.use_backend(form):
        step = int(t.timesteps[row])
        expected = sampler_step(x, output, x0, t.coefficients[row], step=step, **names())
        sampler_step_at(x, output, x0, t.coefficients, t.timesteps, torch.tensor([row]), **names())
    assert torch.equal(x, expected[0])
    assert torch.equal(x0, expected[1])


def loop(denoise, t, rows, device):
    """One step to be queued for each row of the table, and the volume that it works on."""
    place = names(device)
    x = philox_normal(SHAPE[1:], step=STEPS, device=device, **place).contiguous()
    x0 = torch.zeros_like(x)
    counter = torch.zeros(1, dtype=torch.int64, device=device)
    coefficients, timesteps = t.coefficients.to(device), t.timesteps.to(device)

    def step():
        row = rows.index_select(0, counter)[0].expand(SHAPE[0], -1)
        sampler_step_at(x, denoise(x, row), x0, coefficients, timesteps, counter, **place)
        counter.add_(1)

    return step, x, x0, counter


def denoise(x, row):
    return 0.3 * x + row.sum(1).view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("sampler", ["dpmpp", "ddpm"])
def test_with_a_counter_it_is_the_whole_loop(sampler):
    t = make_table(sampler, "v", 6)
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    place = names()
    expected = run_table(denoise, t, rows[:, None].expand(-1, 2, -1), SHAPE[2:], **place)
    step, x, _, counter = loop(denoise, t, rows, "cpu")
    for _ in range(6):
        step()
    assert int(counter) == 6
    assert torch.equal(x, expected)


@pytest.mark.gpu
def test_one_cuda_graph_serves_all_steps():
    t = make_table("ddpm", "v", 6)
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    place = names()
    expected = run_table(denoise, t, rows[:, None].expand(-1, 2, -1), SHAPE[2:], **place)
    step, x, x0, counter = loop(denoise, t, rows.cuda(), "cuda")
    first = x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    x.copy_(first)
    x0.zero_()
    counter.zero_()
    for _ in range(6):
        graph.replay()
    torch.testing.assert_close(x.cpu(), expected, rtol=1e-5, atol=1e-5)


def test_opcheck_and_compile():
    t = table()
    x, output, x0 = tensors()
    place = names()
    arguments = (
        x, output, x0, t.coefficients, t.timesteps, torch.tensor([2]),
        place["subjects"], place["samples"], 11,
    )  # fmt: skip
    torch.library.opcheck(OP, arguments)

    def step(x, output, x0, row):
        sampler_step_at(x, output, x0, t.coefficients, t.timesteps, row, **place)
        return x + x0

    eager = step(x.clone(), output, x0.clone(), torch.tensor([2]))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x.clone(), output, x0.clone(), torch.tensor([2])), eager)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("output", torch.zeros(1, 1, 3, 5, 7), ValueError),
        ("output", torch.zeros(SHAPE, dtype=torch.float64), TypeError),
        ("x", torch.zeros(7, 1, 3, 5, 2).transpose(0, 4), ValueError),
        ("x0", torch.zeros(SHAPE, dtype=torch.float64), TypeError),
        ("coefficients", torch.zeros(5, 6), TypeError),
        ("coefficients", torch.zeros(4, 6, dtype=torch.float64), ValueError),
        ("timesteps", torch.zeros(5), TypeError),
        ("row", torch.tensor(0), ValueError),
        ("row", torch.tensor([0], dtype=torch.int32), TypeError),
        ("row", torch.tensor([0], device="meta"), ValueError),
        ("subjects", torch.tensor([1]), ValueError),
        ("samples", torch.tensor([1.0, 2.0]), TypeError),
        ("seed", 2**32, ValueError),
    ],
)
def test_what_cannot_work_is_refused(name, value, error):
    t = table()
    x, output, x0 = tensors()
    arguments = {
        "x": x, "output": output, "x0": x0, "coefficients": t.coefficients,
        "timesteps": t.timesteps, "row": torch.tensor([0]), **names(), name: value,
    }  # fmt: skip
    with pytest.raises(error, match=f"sampler_step_at: {name}"):
        sampler_step_at(**arguments)
