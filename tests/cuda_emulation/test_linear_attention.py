"""The CUDA kernels of linear_attention, run on the CPU, against the unfused block in float64."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops.linear_attention import reference

pytestmark = pytest.mark.slow  # emulated matrix products, one thread after the other

HEADS, WIDTH = 4, 32
SHAPES = [
    (1, 1, 1),
    (2, 3, 17),
    (1, 8, 1),
    (1, 8, 1500),
    (2, 8, 515),
    (1, 13, 700),
    (2, 16, 600),
    (1, 24, 133),
    (1, 32, 260),
    (2, 40, 65),
    (1, 64, 64),
    (1, 128, 33),
    (1, 101, 70),
]

KINDS = [
    (torch.float32, False),
    (torch.float32, True),
    (torch.bfloat16, False),
    (torch.float16, True),
]


def case(emulation, shape, dtype, heads=HEADS, width=WIDTH, channels_last=False, offset=0, scale=1):
    """Inputs of one call, guarded; weights in float32."""
    generator = torch.Generator().manual_seed(7)
    channels, rows = shape[1], heads * width

    def draw(*size, scale=1.0):
        return torch.randn(*size, generator=generator) * scale

    def activation(values):
        return emulation.tensor(
            shape, dtype, channels_last=channels_last, offset=offset, values=values
        )

    def weight(*size, scale):
        return emulation.tensor(size, torch.float32, values=draw(*size, scale=scale))

    inputs = {
        "x": activation(draw(*shape) * scale),
        "w_qkv": weight(3 * rows, channels, scale=channels**-0.5),
        "w_out": weight(channels, rows, scale=rows**-0.5),
        "bias": weight(channels, scale=1.0),
    }
    return inputs, activation(draw(*shape))


def by_torch(inputs, upstream, dtype, heads):
    leaves = {name: v.detach().to(dtype).requires_grad_() for name, v in inputs.items()}
    y = reference(**leaves, heads=heads)
    y.backward(upstream.to(dtype))
    return y.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def run(emulation, inputs, upstream, heads=HEADS, channels_last=False, offset=0):
    x = inputs["x"]
    batch, channels, voxels = x.shape
    rows = inputs["w_out"].shape[1]
    sizes = {
        "batch": batch, "channels": channels, "voxels": voxels, "heads": heads,
        "width": rows // heads, "dtype": x.dtype,
    }  # fmt: skip

    def like(value):
        if value.dim() < 3:
            return emulation.tensor(tuple(value.shape), value.dtype)
        return emulation.tensor(
            tuple(value.shape), value.dtype, channels_last=channels_last, offset=offset
        )

    kept = {
        name: emulation.tensor(size, torch.float32)
        for name, size in {
            "row_max": (batch, rows),
            "row_sum": (batch, rows),
            "s": (batch, rows, channels),
            "m": (batch, channels, channels),
        }.items()
    }
    y = like(x)
    emulation.run("linear_attention_forward", **sizes, **inputs, **kept, y=y)
    gradients = {name: like(value) for name, value in inputs.items()}
    weights = {name: inputs[name] for name in ("x", "w_qkv", "w_out")}
    emulation.run(
        "linear_attention_backward",
        **sizes, **weights, **kept, grad_y=upstream,
        **{f"grad_{name}": value for name, value in gradients.items()},
    )  # fmt: skip
    return y, gradients


def check(emulation, inputs, upstream, heads=HEADS, **layout):
    y, gradients = run(emulation, inputs, upstream, heads, **layout)
    exact_y, exact = by_torch(inputs, upstream, torch.float64, heads)
    same_y, same = by_torch(inputs, upstream, inputs["x"].dtype, heads)
    emulation.compare("y", y, exact_y, same_y)
    q, _, v = (
        slice(i * len(exact["w_qkv"]) // 3, (i + 1) * len(exact["w_qkv"]) // 3) for i in range(3)
    )
    for name in ("x", "w_out", "bias"):
        emulation.compare(f"grad of {name}", gradients[name], exact[name], same[name])
    for name, part in (("w_q", q), ("w_v", v)):
        one, two, three = (g["w_qkv"][part] for g in (gradients, exact, same))
        emulation.compare(f"grad of {name}", one, two, three)
    check_keys(gradients, exact, same, q.stop, v.start)
    return y, gradients


def check_keys(gradients, exact, same, start, stop):
    """The keys' gradient is a difference of near-equal sums: measured against the values'."""
    value, right, torchs = (g["w_qkv"][start:stop] for g in (gradients, exact, same))
    size = max(float(right.norm()), 1e-2 * float(exact["w_qkv"][stop:].norm()), 1e-30)
    error = float((value.double() - right).norm()) / size
    floor = 1e-5 if same["x"].dtype == torch.float32 else 1e-2
    assert error <= 2 * float((torchs.double() - right).norm()) / size + floor


@pytest.mark.parametrize(("dtype", "channels_last"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_and_dtypes(emulation, shape, dtype, channels_last):
    inputs, upstream = case(emulation, shape, dtype, channels_last=channels_last)
    check(emulation, inputs, upstream, channels_last=channels_last)


@pytest.mark.parametrize(("heads", "width"), [(1, 1), (3, 5), (1, 128), (8, 16)])
def test_heads_and_widths(emulation, heads, width):
    inputs, upstream = case(emulation, (2, 9, 130), torch.float32, heads, width)
    check(emulation, inputs, upstream, heads)


@pytest.mark.parametrize("channels_last", [False, True])
def test_tensors_that_miss_a_16_byte_boundary(emulation, channels_last):
    layout = {"channels_last": channels_last, "offset": 1}
    inputs, upstream = case(emulation, (2, 8, 64), torch.bfloat16, **layout)
    check(emulation, inputs, upstream, **layout)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(1, 17, 130), (2, 32, 1000), (1, 64, 257), (1, 100, 385)])
def test_small_volumes_with_many_channels(emulation, shape, channels_last):
    """Their rows are shared among the blocks; the last tile is not a whole one."""
    inputs, upstream = case(emulation, shape, torch.float16, channels_last=channels_last)
    check(emulation, inputs, upstream, channels_last=channels_last)


@pytest.mark.parametrize("channels", [24, 64, 128])
def test_large_volumes_with_many_channels(emulation, channels):
    shape = (1, channels, 16_390)
    inputs, upstream = case(emulation, shape, torch.float32, channels_last=True)
    check(emulation, inputs, upstream, channels_last=True)


def test_keys_far_from_zero(emulation):
    """exp(Wk x) alone would overflow or vanish: keys of a few hundred, all negative in one row."""
    inputs, upstream = case(emulation, (1, 8, 700), torch.float32, scale=40)
    inputs["x"][:, 0] = inputs["x"][:, 0].abs() + 100
    inputs["w_qkv"][128, 0] = -9.0
    inputs["w_qkv"][129, 0] = 9.0
    y, _ = run(emulation, inputs, upstream)
    exact, _ = by_torch(inputs, upstream, torch.float64, HEADS)
    same, _ = by_torch(inputs, upstream, torch.float32, HEADS)
    emulation.compare("y", y, exact, same)


@pytest.mark.parametrize("channels", [8, 20])
def test_keys_that_rise_over_the_volume(emulation, channels):
    """The running maximum moves in every part and between the parts."""
    inputs, upstream = case(emulation, (1, channels, 3000), torch.float32)
    inputs["x"] *= 1 + torch.arange(3000) / 300
    check(emulation, inputs, upstream)


@pytest.mark.parametrize("channels", [8, 20])
@pytest.mark.parametrize("multiprocessors", [1, 40])
def test_any_number_of_multiprocessors(emulation, multiprocessors, channels):
    emulation.configure(multiprocessors)
    inputs, upstream = case(emulation, (1, channels, 3000), torch.float32)
    check(emulation, inputs, upstream)


@pytest.mark.parametrize("shape", [(1, 16, 600), (1, 128, 40)])
def test_fits_the_shared_memory_of_small_devices(emulation, shape):
    emulation.configure(device="sm_86")
    check(emulation, *case(emulation, shape, torch.float32))


@pytest.mark.parametrize("shape", [(2, 8, 1030), (1, 24, 133), (1, 70, 90)])
def test_repeats_and_reversed_threads_give_the_same_bits(emulation, shape):
    inputs, upstream = case(emulation, shape, torch.float32)
    results = []
    for reverse in (False, False, True):
        emulation.configure(reverse=reverse)
        y, gradients = run(emulation, inputs, upstream)
        results.append([y, *gradients.values()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_is_refused(emulation):
    inputs, _ = case(emulation, (1, 2, 8), torch.float32)
    x = inputs["x"]
    sizes = {"batch": 1, "channels": 2, "voxels": 8, "heads": 4, "width": 32, "dtype": x.dtype}
    outputs = dict.fromkeys(("row_max", "row_sum", "s", "m", "y"), x)
    op = "linear_attention_forward"
    assert emulation.status(op, workspace=False, **sizes, **inputs, **outputs)[0] == 6
    for change in ({"channels": 129}, {"width": 33}, {"voxels": 0}):
        assert emulation.status(op, **sizes | change, **inputs, **outputs)[0] == 1
    assert emulation.status(op, **sizes | {"dtype": torch.float64}, **inputs, **outputs)[0] == 3
