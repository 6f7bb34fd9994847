"""Which form of the convolution runs, and what its reference computes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from mri2pet.errors import UsageError
from mri2pet.nn.convolution import Conv3d
from mri2pet.ops import backend, convolution_choice
from mri2pet.ops import conv3d as op
from mri2pet.ops.convolution_choice import (
    Layer,
    Tile,
    set_convolution,
    tile_for,
    use_convolution,
    use_measurements,
)

MEASURED = {(9, 0): {Layer(8, 16, (4, 8, 8)): Tile(2, 4)}}


@pytest.fixture
def gpu(monkeypatch):
    """Tensors that say they are on a GPU of compute capability 9.0, and a build with kernels."""
    monkeypatch.setattr(backend, "_HAS_CUDA", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with FakeTensorMode(), torch.no_grad(), backend.use_backend("auto"):
        yield


def layer(cin=8, cout=16, shape=(4, 8, 8), dtype=torch.float16, device="cuda"):
    x = torch.empty(1, cin, *shape, dtype=dtype, device=device)
    return x, torch.empty(cout, cin, 3, 3, 3, dtype=dtype, device=device)


def test_auto_takes_what_was_measured_and_nothing_else(gpu, monkeypatch):
    assert tile_for(*layer()) is None
    monkeypatch.setattr(convolution_choice, "_measured", MEASURED)
    assert tile_for(*layer()) == Tile(2, 4)
    assert tile_for(*layer(cout=8)) is None
    assert tile_for(*layer(shape=(4, 8, 9))) is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert tile_for(*layer()) is None


def test_native_takes_every_layer_that_the_kernel_can_run(gpu, monkeypatch):
    monkeypatch.setattr(convolution_choice, "_measured", MEASURED)
    with use_convolution("native"):
        assert tile_for(*layer()) == Tile(2, 4)
        assert tile_for(*layer(cin=48, cout=48)) == Tile()
        x2, weight = layer(cin=24)
        assert tile_for(layer(cin=8)[0], weight, x2) == Tile()
        assert tile_for(layer(cin=9)[0], weight, x2) is None
        assert tile_for(*layer(cin=49)) is None
        assert tile_for(*layer(cout=64)) is None
        assert tile_for(*layer(dtype=torch.float32)) is None
        assert tile_for(*layer(device="cpu")) is None
        with torch.enable_grad():
            x, weight = layer()
            assert tile_for(x, weight) == Tile(2, 4)
            assert tile_for(x, weight.requires_grad_()) is None
        with backend.use_backend("reference"):
            assert tile_for(*layer()) is None
        monkeypatch.setattr(backend, "_HAS_CUDA", False)
        assert tile_for(*layer()) is None


def test_library_is_the_library(gpu):
    with use_measurements(MEASURED):
        assert tile_for(*layer()) == Tile(2, 4)
        with use_convolution("library"):
            assert tile_for(*layer()) is None
    assert tile_for(*layer()) is None


def test_the_module_asks_and_hands_the_tile_on(gpu, monkeypatch):
    monkeypatch.setattr(convolution_choice, "_measured", MEASURED)
    asked = []

    def stand_in(x, weight, *, variant, planes):
        asked.append((variant, planes))
        return op._forward(x, weight, None, None, None, None, 0.0, False, variant, planes)

    monkeypatch.setattr("mri2pet.nn.convolution.conv3d", stand_in)
    x, weight = layer()
    conv, with_bias = Conv3d(8, 16), Conv3d(8, 16, bias=True)
    conv.weight = with_bias.weight = torch.nn.Parameter(weight)
    with_bias.bias = torch.nn.Parameter(torch.empty(16, dtype=x.dtype, device="cuda"))
    assert conv(x).shape == (1, 16, 4, 8, 8)
    assert asked == [(2, 4)]
    monkeypatch.setattr(F, "conv3d", lambda x, *others: x)
    conv(layer(shape=(4, 8, 9))[0])
    with_bias(x)
    assert len(asked) == 1


def test_unknown_choices_are_one_sentence():
    with pytest.raises(UsageError, match=r"ops.convolution 'fast' is not one of auto, native, lib"):
        set_convolution("fast")
    code = (
        "from mri2pet.errors import UsageError\n"
        "try:\n    import mri2pet.nn\nexcept UsageError as error:\n    print(error)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, convolution_choice.ENVIRONMENT: "fast"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "ops.convolution 'fast' is not one of auto, native, library\n"


def test_the_reference_norms_by_parts_and_joins_both_inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 3, 4, 5, generator=generator, dtype=torch.float64) * 2 + 3
    weight = torch.randn(4, 6, 3, 3, 3, generator=generator, dtype=torch.float64)
    scale, shift = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    pieces = x.flatten(1).split((200, 100, 60), dim=1)
    parts = [(p.mean(1), p.var(1, correction=0) * p.shape[1], len(p[0])) for p in pieces]
    parts = torch.stack([torch.stack((m, s, torch.full_like(m, n)), 1) for m, s, n in parts], 1)
    y = op.reference(x[:, :2], weight, x[:, 2:], op.InputNorm(parts, scale, shift))
    plain = F.conv3d(F.gelu(F.group_norm(x, 1, scale, shift)), weight, padding=1)
    torch.testing.assert_close(y, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"weight": (16, 9, 3, 3, 3)}, ValueError, "weight"),
        ({"weight": (16, 8, 1, 1, 1)}, ValueError, "weight"),
        ({"x2": (1, 8, 4, 8, 9), "weight": (16, 16, 3, 3, 3)}, ValueError, "x2"),
        ({"parts": (2, 3, 3)}, ValueError, "parts"),
        ({"dtype": torch.float32}, TypeError, "float32"),
    ],
)
def test_what_the_op_refuses(change, kind, text):
    dtype = change.get("dtype", torch.float16)
    x = torch.zeros(1, 8, 4, 8, 8, dtype=dtype)
    weight = torch.zeros(change.get("weight", (16, 8, 3, 3, 3)), dtype=dtype)
    x2 = torch.zeros(change["x2"], dtype=dtype) if "x2" in change else None
    norm = None
    if "parts" in change:
        norm = op.InputNorm(torch.zeros(change["parts"]), torch.ones(8), torch.zeros(8))
    with pytest.raises(kind, match=text):
        op.conv3d(x, weight, x2, norm)
