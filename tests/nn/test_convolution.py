"""One volume goes through oneDNN with its gradients, and is what torch computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from mri2pet.nn.convolution import Conv3d
from mri2pet.ops.backend import use_backend

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)
SHAPES = [
    ((1, 1, 8, 12, 10), 8),
    ((1, 8, 6, 9, 7), 16),
    ((1, 24, 7, 5, 11), 12),
    ((1, 16, 2, 4, 4), 24),
    ((1, 3, 1, 4, 5), 5),
]
LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def convolved(conv, x):
    """Output, and gradients of input and parameters for a fixed upstream gradient."""
    x = x.detach().requires_grad_()
    y = conv(x)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad(y, [x, *conv.parameters()], upstream)]


def operators(run) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        run()
    return {event.key for event in trace.key_averages()}


@needs_onednn
@pytest.mark.parametrize(("shape", "cout"), SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [True, False])
def test_is_the_convolution_with_its_gradients(shape, cout, layout, bias):
    torch.manual_seed(0)
    conv = Conv3d(shape[1], cout, bias=bias).to(memory_format=layout)
    x = torch.randn(shape).contiguous(memory_format=layout)
    double = Conv3d(shape[1], cout, bias=bias).double()
    double.load_state_dict(conv.state_dict())
    exact = convolved(double, x.double())
    for found, truth in zip(convolved(conv, x), exact, strict=True):
        assert found.dtype == torch.float32
        assert found.shape == truth.shape
        assert float((found - truth).norm() / truth.norm()) < 2e-6


@needs_onednn
@pytest.mark.parametrize("layout", LAYOUTS)
def test_takes_onednn_where_torch_would_not(layout):
    conv = Conv3d(8, 8).to(memory_format=layout)
    x = torch.randn(1, 8, 16, 32, 32).contiguous(memory_format=layout)
    plain = operators(lambda: F.conv3d(x, conv.weight, padding=1).sum().backward())
    assert "aten::slow_conv3d_forward" in plain, "torch takes oneDNN by itself now"
    ours = operators(lambda: convolved(conv, x))
    assert "aten::mkldnn_convolution" in ours
    assert not any("slow_conv3d" in name for name in ours)


@needs_onednn
def test_the_papers_form_is_left_as_torch_has_it():
    conv, x = Conv3d(8, 8), torch.randn(1, 8, 16, 32, 32)
    with use_backend("reference"), torch.no_grad():
        assert "aten::slow_conv3d_forward" in operators(lambda: conv(x))


@needs_onednn
def test_layout_and_low_precision_are_kept():
    conv = Conv3d(8, 16).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 8, 8, 16, 16).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        assert conv(x).is_contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16


def test_compiles_and_exports_as_one_convolution():
    conv, x = Conv3d(8, 8), torch.randn(1, 8, 4, 8, 8)
    graph = torch.export.export(conv, (x,)).graph
    assert [n.target for n in graph.nodes if n.op == "call_function"] == [
        torch.ops.aten.conv3d.default
    ]
    torch.testing.assert_close(torch.compile(conv, fullgraph=True, backend="eager")(x), conv(x))
