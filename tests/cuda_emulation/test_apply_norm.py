"""The CUDA kernel of apply_norm, run on the CPU, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

SHAPES = [(1, 8, 1), (3, 8, 17), (2, 24, 341), (1, 48, 100), (2, 128, 33)]


def normal(*size, seed):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def last(emulation, values, dtype, first=0, channels=None):
    """Channels first … first + channels of [B, C, N] as [B, N, C], guarded."""
    values = values[:, first : None if channels is None else first + channels].transpose(1, 2)
    return emulation.tensor(tuple(values.shape), dtype, values=values)


def run(emulation, shape, dtype, form, channels2=0):
    """y [B, C, N], exact, and the same by torch in the dtype."""
    batch, channels, voxels = shape
    x = (normal(*shape, seed=0) * 2 + 3).to(dtype).double()
    residual, bias = normal(*shape, seed=1).to(dtype).double(), normal(batch, channels, seed=2)
    scale, shift = normal(channels, seed=3), normal(channels, seed=4)
    pieces = [row.flatten().split(-(-row.numel() // 3)) for row in x]
    parts = [[(p.mean(), p.var(correction=0) * p.numel(), p.numel()) for p in r] for r in pieces]
    parts = torch.tensor(parts)
    given = {
        "x": last(emulation, x, dtype),
        "parts": emulation.tensor(tuple(parts.shape), torch.float32, values=parts),
        "weight": emulation.tensor((channels,), torch.float32, values=scale),
        "bias": emulation.tensor((channels,), torch.float32, values=shift),
        "y": emulation.tensor((batch, voxels, channels), dtype),
    }
    if form in ("residual", "all"):
        given["residual"] = last(emulation, residual, dtype, 0, channels - channels2)
    if channels2:
        given["residual2"] = last(emulation, residual, dtype, channels - channels2)
    if form in ("bias", "all"):
        given["channel_bias"] = emulation.tensor((batch, channels), torch.float32, values=bias)
    emulation.run(
        "apply_norm", batch=batch, channels=channels, voxels=voxels, dtype=dtype,
        gelu=form != "bias", eps=1e-5, part_count=parts.shape[1],
        channels_residual2=channels2, **given,
    )  # fmt: skip

    def plain(kind):
        h = F.group_norm(x.to(kind), 1, scale.to(kind), shift.to(kind))
        if form in ("residual", "all"):
            h = h + residual.to(kind)
        if form in ("bias", "all"):
            h = h + bias.to(kind)[:, :, None]
        return F.gelu(h) if form != "bias" else h

    return given["y"].transpose(1, 2), plain(torch.float64), plain(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sizes_and_dtypes(emulation, shape, dtype):
    emulation.compare("y", *run(emulation, shape, dtype, "all"))


@pytest.mark.parametrize("form", ["plain", "residual", "bias", "all"])
def test_forms(emulation, form):
    y, exact, same = run(emulation, (2, 24, 50), torch.float16, form)
    emulation.compare("y", y, exact, same)
    emulation.configure(reverse=True)
    assert torch.equal(y, run(emulation, (2, 24, 50), torch.float16, form)[0])


@pytest.mark.parametrize(("channels", "channels2"), [(24, 16), (48, 32), (16, 8)])
def test_a_residual_of_two_tensors(emulation, channels, channels2):
    y, exact, same = run(emulation, (2, channels, 37), torch.float16, "residual", channels2)
    emulation.compare("y", y, exact, same)


def test_what_is_refused(emulation):
    sizes = {"batch": 1, "channels": 8, "voxels": 1, "part_count": 1, "dtype": torch.float16}
    given = {"x": 64, "parts": 64, "weight": 64, "bias": 64, "y": 64}
    for wrong, detail in (
        ({"channels": 12}, "multiple of 8"),
        ({"channels": 136}, "at most 128"),
        ({"dtype": torch.float32}, "x"),
        ({"part_count": 0}, "part_count"),
        ({"eps": float("nan")}, "eps"),
        ({"residual2": 64}, "second residual"),
        ({"residual2": 64, "channels_residual2": 8}, "second residual"),
        ({"x": 72}, "aligned"),
    ):
        code, said = emulation.status("apply_norm", **(sizes | given | wrong))
        assert code != 0, wrong
        assert detail in said, (wrong, said)
