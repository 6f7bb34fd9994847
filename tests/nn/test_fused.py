"""Blocks whose convolutions are conv3d: the same function, with the norms read from statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mri2pet.nn import Network, blocks
from mri2pet.nn.blocks import DoubleConv
from mri2pet.ops import apply_norm, conv3d, convolution_choice
from mri2pet.ops.convolution_choice import Tile
from mri2pet.stages import load_config


def statistics_of(y: Tensor) -> Tensor:
    """Parts [B, 3, 3] of unequal sizes."""
    values = y.flatten(1)
    pieces = values.split(-(-values.shape[1] // 3), dim=1)
    return torch.stack(
        [
            torch.stack(
                (p.mean(1), p.var(1, correction=0) * p.shape[1], 0 * p[:, 0] + p.shape[1]), 1
            )
            for p in pieces
        ],
        1,
    )


@pytest.fixture
def fused(monkeypatch):
    """Every convolution is conv3d, and both ops are their references; counts the calls."""
    calls = []

    def convolve(x, weight, norm=None, *, statistics=False, variant, planes):
        calls.append(("conv3d", norm is not None))
        assert (variant, planes) == (1, 4)
        y = conv3d.reference(x, weight, norm=norm)
        return y, statistics_of(y)

    def normalise(*arguments, **options):
        calls.append(("apply_norm",))
        return apply_norm.reference(*arguments, **options)

    monkeypatch.setattr(blocks, "conv3d", convolve)
    monkeypatch.setattr(blocks, "apply_norm", normalise)
    monkeypatch.setattr(convolution_choice, "tile_for", lambda *a: Tile(1, 4))
    return calls


def filled(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 1
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = values / fan**0.5
    return module.requires_grad_(False).double()


def normal(*size, seed):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("residual", [False, True])
def test_a_double_convolution(residual, fused, monkeypatch):
    block = filled(DoubleConv(24, 24, mid=16, residual=residual))
    x, bias = normal(2, 24, 3, 5, 7, seed=1), normal(2, 24, seed=2)
    y = block(x, bias)
    assert fused == [("conv3d", False), ("conv3d", True), ("apply_norm",)]
    monkeypatch.setattr(convolution_choice, "tile_for", lambda *a: None)
    torch.testing.assert_close(y, block(x, bias), rtol=1e-9, atol=1e-9)


def test_a_whole_network(fused, monkeypatch):
    shapes = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")
    unet = filled(Network(load_config("paper", shapes).model).unet)
    x, biases = normal(1, 1, 16, 32, 32, seed=1), normal(1, 360, seed=2)
    y = unet(x, biases)
    assert sum(call[0] == "conv3d" for call in fused) == 40
    monkeypatch.setattr(convolution_choice, "tile_for", lambda *a: None)
    torch.testing.assert_close(y, unet(x, biases), rtol=1e-7, atol=1e-7)


def test_one_convolution_of_the_library_leaves_the_block_as_it_was(fused, monkeypatch):
    block = filled(DoubleConv(8, 8))
    tiles = iter((Tile(1, 4), None, None, None))
    monkeypatch.setattr(convolution_choice, "tile_for", lambda *a: next(tiles))
    block(normal(1, 8, 2, 3, 4, seed=1))
    assert not fused
