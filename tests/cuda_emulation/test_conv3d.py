"""The CUDA kernel of conv3d, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.slow  # emulated matrix products, one thread after the other

VARIANTS = 3
# Batch, volume, channels in and out: 1, 17, odd, not cubic, channels that are no multiple of 8.
SIZES = [
    (1, (1, 1, 1), 1, 1),
    (3, (2, 5, 3), 1, 8),
    (1, (3, 17, 17), 8, 8),
    (1, (1, 3, 33), 8, 16),
    (1, (2, 18, 5), 5, 9),
    (1, (2, 3, 19), 12, 8),
    (1, (1, 7, 16), 12, 17),
    (1, (2, 4, 17), 16, 16),
    (1, (3, 2, 5), 24, 24),
    (1, (1, 9, 3), 24, 12),
    (1, (1, 2, 3), 20, 40),
    (1, (1, 3, 2), 48, 24),
    (1, (2, 2, 2), 47, 48),
]


def normal(*size, seed):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def last(values):
    """[B, C, K, I, J] → [B, K, I, J, C] and back with `first`."""
    return values.movedim(1, -1)


def first(values):
    return values.movedim(-1, 1)


def call(emulation, x, weight, dtype, x2=None, offset=0, **options):
    """y and the parts; x, x2 [B, C, K, I, J] and weight [O, C, 3, 3, 3] of any dtype."""

    def given(values):
        values = last(values)
        return emulation.tensor(tuple(values.shape), dtype, offset=offset, values=values)

    inputs = {"x": given(x), "weight": given(weight)}
    channels2 = 0
    if x2 is not None:
        channels2 = x2.shape[1]
        inputs |= {"x2": given(x2), "channels_x2": channels2}
    batch, channels, *volume = x.shape
    sizes = dict(zip(("depth", "height", "width"), volume, strict=True)) | {
        "batch": batch,
        "channels_in": channels + channels2,
        "channels_out": weight.shape[0],
        "dtype": dtype,
        "variant": options.pop("variant", 0),
        "planes": options.pop("planes", 0),
    }
    count = emulation.conv3d_parts(**sizes)
    assert count > 0
    parts = emulation.tensor((batch, count, 3), torch.float32)
    y = emulation.tensor((batch, *volume, weight.shape[0]), dtype)
    emulation.run("conv3d", **sizes, **inputs, y=y, parts=parts, **options)
    return y, parts


def rounded(values, dtype):
    return values.to(dtype).double()


def statistics(parts):
    """Mean and variance of each sample from its parts, in float64."""
    mean, squares, count = parts.double().unbind(-1)
    total = count.sum(1, keepdim=True)
    centre = (mean * count).sum(1, keepdim=True) / total
    spread = (squares + count * (mean - centre) ** 2).sum(1, keepdim=True) / total
    return total[:, 0], centre[:, 0], spread[:, 0]


def check(emulation, y, parts, exact, same):
    emulation.compare("y", first(y), exact, same)
    count, mean, variance = statistics(parts)
    own = y.double().flatten(1)
    assert (count == own.shape[1]).all()
    torch.testing.assert_close(mean, own.mean(1), rtol=1e-5, atol=1e-5 * float(own.abs().max()))
    torch.testing.assert_close(variance, own.var(1, correction=0), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes_and_dtypes(emulation, size, dtype):
    batch, volume, channels, out = size
    x = rounded(normal(batch, channels, *volume, seed=0), dtype)
    weight = rounded(normal(out, channels, 3, 3, 3, seed=1) / (27 * channels) ** 0.5, dtype)
    y, parts = call(emulation, x, weight, dtype)
    exact = F.conv3d(x, weight, padding=1)
    check(emulation, y, parts, exact, exact.to(dtype))


@pytest.mark.parametrize("variant", range(VARIANTS))
@pytest.mark.parametrize(
    "channels", [(8, 8), (8, 16), (12, 8), (16, 16), (24, 12), (24, 24), (48, 24)]
)
def test_every_tile_and_its_repetition(emulation, channels, variant):
    """More than one block along every axis; the same bits when all runs in the reverse order."""
    channels, out = channels
    dtype = torch.float16
    x = rounded(
        normal(1, channels, 5, 18, 34, seed=0)[:, :, :, :, : 34 if channels < 24 else 17], dtype
    )
    weight = rounded(normal(out, channels, 3, 3, 3, seed=1) / (27 * channels) ** 0.5, dtype)
    y, parts = call(emulation, x, weight, dtype, variant=variant, planes=3)
    exact = F.conv3d(x, weight, padding=1)
    check(emulation, y, parts, exact, exact.to(dtype))
    emulation.configure(reverse=True)
    again, parts_again = call(emulation, x, weight, dtype, variant=variant, planes=3)
    assert torch.equal(y, again)
    assert torch.equal(parts, parts_again)


def norm_of(emulation, x, dtype, parts=3):
    """The norm's arguments, with the statistics of x [B, C, K, I, J] in parts of unequal size."""
    channels = x.shape[1]
    rows = [row.flatten().split(-(-row.numel() // parts)) for row in x]
    table = [[(p.mean(), p.var(correction=0) * p.numel(), p.numel()) for p in row] for row in rows]
    table = torch.tensor(table)
    weight, bias = normal(channels, seed=5) + 1, normal(channels, seed=6)
    return {
        "in_parts": emulation.tensor(tuple(table.shape), torch.float32, values=table),
        "in_part_count": table.shape[1],
        "norm_weight": emulation.tensor((channels,), torch.float32, values=weight),
        "norm_bias": emulation.tensor((channels,), torch.float32, values=bias),
        "eps": 1e-5,
    }, (weight, bias)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("channels", "channels2", "out"),
    [(3, 0, 8), (12, 0, 8), (24, 0, 24), (8, 16, 24), (16, 32, 24), (8, 5, 9)],
)
def test_norm_on_load_and_a_second_input(emulation, channels, channels2, out, dtype):
    """The border stays 0 after norm and GELU, and the input of a sample is normed by its own."""
    volume, batch = (4, 9, 18), 2
    x = normal(batch, channels + channels2, *volume, seed=0) * 2 + 3
    x = rounded(x * torch.tensor([1.0, 0.25]).reshape(2, 1, 1, 1, 1), dtype)
    weight = rounded(normal(out, x.shape[1], 3, 3, 3, seed=1) / (27 * x.shape[1]) ** 0.5, dtype)
    options, (scale, shift) = norm_of(emulation, x, dtype)
    pieces = x.split((channels, channels2), dim=1) if channels2 else (x, None)
    y, parts = call(emulation, pieces[0], weight, dtype, pieces[1], planes=3, **options)

    def plain(values, kind):
        h = F.gelu(F.group_norm(values, 1, scale.to(kind), shift.to(kind)))
        return h

    exact = F.conv3d(plain(x, torch.float64), weight, padding=1)
    h = plain(x.to(dtype), dtype).double()
    check(emulation, y, parts, exact, F.conv3d(h, weight, padding=1).to(dtype))


def test_statistics_of_a_small_spread_about_a_large_mean(emulation):
    """A mean 1,000 times the spread costs no digits of the variance."""
    x = torch.ones(1, 8, 4, 20, 20, dtype=torch.float64)
    weight = torch.zeros(8, 8, 3, 3, 3, dtype=torch.float64)
    weight[:, 0, 1, 1, 1] = 512
    x[:, 0] += rounded(normal(4, 20, 20, seed=0) / 512, torch.float16)
    x = rounded(x, torch.float16)
    y, parts = call(emulation, x, weight, torch.float16)
    _, mean, variance = statistics(parts)
    own = y.double().flatten()
    assert float(own.mean() / own.std()) > 300
    torch.testing.assert_close(variance[0], own.var(correction=0), rtol=1e-5, atol=0)
    torch.testing.assert_close(mean[0], own.mean(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_tensors_that_miss_a_16_byte_boundary(emulation, offset):
    if offset == 1:
        channels, out = 8, 9
    else:
        channels, out = 8, 8
    x = rounded(normal(1, channels, 2, 5, 7, seed=0), torch.float16)
    weight = rounded(normal(out, channels, 3, 3, 3, seed=1) / 15, torch.float16)
    y, _ = call(emulation, x, weight, torch.float16, offset=offset)
    exact = F.conv3d(x, weight, padding=1)
    emulation.compare("y", first(y), exact, exact.to(torch.float16))


def test_what_is_refused(emulation):
    sizes = {"batch": 1, "depth": 1, "height": 1, "width": 1, "channels_in": 8, "channels_out": 8}
    given = {"x": 64, "weight": 64, "y": 64, "dtype": torch.float16}
    for wrong, detail in (
        ({"channels_in": 49}, "at most 48 channels"),
        ({"channels_out": 0}, "every size"),
        ({"depth": 2**31}, "2^30"),
        ({"dtype": torch.float32}, "x"),
        ({"variant": 3}, "variant"),
        ({"planes": -1}, "planes"),
        ({"x2": 64, "channels_x2": 5}, "8 n channels"),
        ({"x2": 64}, "second input"),
        ({"channels_x2": 4}, "second input"),
        ({"in_parts": 64}, "in_part_count"),
        ({"y": 66}, "aligned"),
    ):
        code, said = emulation.status("conv3d", **(sizes | given | wrong))
        assert code != 0, wrong
        assert detail in said, (wrong, said)


def test_a_device_with_too_little_shared_memory_is_refused(emulation):
    emulation.configure(device="sm_86")
    x = torch.zeros(1, 48, 1, 1, 1, dtype=torch.float64)
    weight = torch.zeros(8, 48, 3, 3, 3, dtype=torch.float64)
    with pytest.raises(AssertionError, match="shared memory"):
        call(emulation, x, weight, torch.float16)
