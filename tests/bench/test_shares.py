"""Every block of the network is counted under its part."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mri2pet.bench.shares import _marked, shares
from mri2pet.nn import Network
from mri2pet.stages import load_config

SETTINGS = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")


@pytest.fixture
def network():
    return Network(load_config("compact", SETTINGS).model)


def run(network):
    shape = (1, 1, 16, 32, 32)
    x, mri, t = torch.randn(shape), torch.rand(shape), torch.tensor([500])
    network(x, t, mri).square().mean().backward()


def test_every_block_is_marked(network):
    with _marked(network), profile(activities=[ProfilerActivity.CPU]) as trace:
        run(network)
    found = Counter(e.name for e in trace.events())
    kinds = Counter(type(module).__name__ for module in network.modules())
    assert found["linear_attention"] == kinds["Attention"]
    assert found["group_norm_gelu"] == kinds["Norm"]
    inside_attention = 2 * kinds["Attention"]
    convolutions = sum(isinstance(m, torch.nn.Conv3d) for m in network.modules())
    assert found["convolution"] == convolutions - inside_attention > 30


def test_shares_are_of_the_whole(network):
    found = shares(lambda: run(network), network, "cpu")
    assert sum(found.values()) == pytest.approx(1)
    assert found["convolution"] > found["other"] / 100
