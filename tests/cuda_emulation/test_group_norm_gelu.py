"""The CUDA kernels of group_norm_gelu, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from mri2pet.ops.group_norm_gelu import reference

SHAPES = [
    (2, 1, 1),
    (1, 1, 17),
    (2, 3, 7),
    (1, 17, 1),
    (2, 8, 1030),
    (1, 24, 4096),
    (1, 300, 33),
    (1, 2, 17000),
    (1, 1030, 2),
]
KINDS = [
    (torch.float32, False),
    (torch.float32, True),
    (torch.bfloat16, False),
    (torch.float16, True),
]
FORMS = ["plain", "gelu", "residual", "bias", "all"]


def case(emulation, shape, dtype, form, channels_last=False, offset=0, mean=0.5, seed=0):
    """Inputs (guarded, of the dtype) and options of one call."""
    generator = torch.Generator().manual_seed(seed)
    batch, channels, _ = shape

    def draw(*size):
        return torch.randn(*size, generator=generator)

    def activation(values):
        return emulation.tensor(
            shape, dtype, channels_last=channels_last, offset=offset, values=values
        )

    inputs = {
        "x": activation(draw(*shape) * 2 + mean),
        "weight": emulation.tensor((channels,), torch.float32, values=draw(channels)),
        "bias": emulation.tensor((channels,), torch.float32, values=draw(channels)),
        "residual": None,
        "channel_bias": None,
    }
    if form in ("residual", "all"):
        inputs["residual"] = activation(draw(*shape))
    if form in ("bias", "all"):
        inputs["channel_bias"] = emulation.tensor(
            (batch, channels), torch.float32, values=draw(batch, channels)
        )
    return inputs, form in ("gelu", "residual", "all"), activation(draw(*shape))


def by_torch(inputs, gelu, upstream, dtype):
    """Output and gradients of the reference with every tensor in `dtype`."""
    leaves = {
        name: None if value is None else value.detach().to(dtype).requires_grad_()
        for name, value in inputs.items()
    }
    y = reference(**leaves, gelu=gelu)
    y.backward(upstream.to(dtype))
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf is not None}
    return y.detach(), gradients


def run(emulation, inputs, gelu, upstream, channels_last=False, offset=0):
    x = inputs["x"]
    batch, channels, voxels = x.shape
    sizes = {"batch": batch, "channels": channels, "voxels": voxels, "dtype": x.dtype}

    def like(value):
        if value is None:
            return None
        if value.dim() == 3:
            return emulation.tensor(
                tuple(value.shape), value.dtype, channels_last=channels_last, offset=offset
            )
        return emulation.tensor(tuple(value.shape), value.dtype)

    y, mean, rstd = like(x), *(emulation.tensor((batch,), torch.float32) for _ in range(2))
    emulation.run(
        "group_norm_gelu_forward",
        **sizes, **inputs, gelu=gelu, eps=1e-5, y=y, mean=mean, rstd=rstd,
    )  # fmt: skip
    gradients = {name: like(value) for name, value in inputs.items()}
    emulation.run(
        "group_norm_gelu_backward",
        **sizes, **inputs, gelu=gelu, mean=mean, rstd=rstd, grad_y=upstream,
        **{f"grad_{name}": value for name, value in gradients.items()},
    )  # fmt: skip
    return y, {name: value for name, value in gradients.items() if value is not None}


def check(emulation, inputs, gelu, upstream, **layout):
    y, gradients = run(emulation, inputs, gelu, upstream, **layout)
    exact_y, exact = by_torch(inputs, gelu, upstream, torch.float64)
    same_y, same = by_torch(inputs, gelu, upstream, inputs["x"].dtype)
    emulation.compare("y", y, exact_y, same_y)
    for name, gradient in gradients.items():
        emulation.compare(f"grad of {name}", gradient, exact[name], same[name])
    return y, gradients


@pytest.mark.parametrize(("dtype", "channels_last"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_and_dtypes(emulation, shape, dtype, channels_last):
    inputs, gelu, upstream = case(emulation, shape, dtype, "all", channels_last)
    check(emulation, inputs, gelu, upstream, channels_last=channels_last)


@pytest.mark.parametrize(("form", "channels_last"), list(itertools.product(FORMS, (False, True))))
def test_forms(emulation, form, channels_last):
    inputs, gelu, upstream = case(emulation, (2, 12, 40), torch.float32, form, channels_last)
    check(emulation, inputs, gelu, upstream, channels_last=channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_tensors_that_miss_a_16_byte_boundary(emulation, channels_last):
    layout = {"channels_last": channels_last, "offset": 1}
    inputs, gelu, upstream = case(emulation, (2, 8, 64), torch.float32, "all", **layout)
    check(emulation, inputs, gelu, upstream, **layout)


@pytest.mark.parametrize("offset", [0, 4, 2])
@pytest.mark.parametrize("form", ["all", "gelu"])
def test_twelve_channels_of_a_half_type(emulation, form, offset):
    """Groups of 8 bytes where 16 do not fit (offset 0 and 4), and single elements (2)."""
    layout = {"channels_last": True, "offset": offset}
    inputs, gelu, upstream = case(emulation, (2, 12, 700), torch.float16, form, **layout)
    check(emulation, inputs, gelu, upstream, **layout)


@pytest.mark.parametrize(
    ("dtype", "channels_last"), [(torch.float16, True), (torch.float32, False)]
)
def test_several_rounds_a_block(emulation, dtype, channels_last):
    """More than 512 parts of 8,192 values: each block takes two rounds, the last one short."""
    shape = (1, 12, 370_001)
    inputs, gelu, upstream = case(emulation, shape, dtype, "gelu", channels_last, mean=3.0)
    check(emulation, inputs, gelu, upstream, channels_last=channels_last)


def test_a_mean_far_above_the_deviation(emulation):
    inputs, gelu, upstream = case(emulation, (1, 4, 3000), torch.float32, "gelu", mean=3000.0)
    check(emulation, inputs, gelu, upstream)


def test_one_huge_value_first(emulation):
    inputs, gelu, upstream = case(emulation, (1, 4, 3000), torch.float32, "gelu")
    inputs["x"][0, 0, 0] = 1e5
    check(emulation, inputs, gelu, upstream)


@pytest.mark.parametrize("channels_last", [False, True])
def test_repeats_and_reversed_threads_give_the_same_bits(emulation, channels_last):
    inputs, gelu, upstream = case(emulation, (2, 24, 2100), torch.bfloat16, "all", channels_last)
    results = []
    for reverse in (False, False, True):
        emulation.configure(reverse=reverse)
        y, gradients = run(emulation, inputs, gelu, upstream, channels_last=channels_last)
        results.append([y, *gradients.values()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_rows_with_a_pitch(emulation):
    """A channel stride that is larger than N, as of a slice of a larger volume."""
    inputs, gelu, upstream = case(emulation, (2, 6, 36), torch.float32, "all")
    wide = emulation.tensor((2, 6, 41), torch.float32)
    wide[..., :36] = inputs["x"]
    inputs["x"] = wide[..., :36]
    check(emulation, inputs, gelu, upstream)


def test_what_is_refused(emulation):
    inputs, gelu, _ = case(emulation, (1, 2, 8), torch.float64, "plain")
    x = inputs["x"]
    sizes = {"batch": 1, "channels": 2, "voxels": 8, "dtype": torch.float64, "gelu": gelu}
    outputs = {"y": x.clone(), "mean": x.clone(), "rstd": x.clone()}
    op = "group_norm_gelu_forward"
    assert emulation.status(op, **sizes, **inputs, **outputs)[0] == 3
    sizes["dtype"] = torch.float32
    assert emulation.status(op, workspace=False, **sizes, **inputs, **outputs)[0] == 6
    for empty in ("batch", "channels", "voxels"):
        assert emulation.status(op, **sizes | {empty: 0}, **inputs, **outputs)[0] == 1
