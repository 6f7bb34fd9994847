"""The CUDA kernel of conv3d, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

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
