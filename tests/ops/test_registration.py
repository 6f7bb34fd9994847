"""What our registration of the ops gives: no compiler at a call, refused gradients, versions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mri2pet.diffusion.samplers import make_table
from mri2pet.ops import group_norm_gelu, sampler_step_at
from mri2pet.ops.registration import operation

pytestmark = pytest.mark.usefixtures("native")

CALLS_IN_EVERY_MODE = """
import sys
import torch
from mri2pet.bench.cases import cases
from mri2pet.ops import sampler_step_at
from mri2pet.ops.winograd import winograd

def run():
    for case in {case.op: case for case in cases("cpu", "float32", scale=4)}.values():
        inputs = [t.detach() for t in case.inputs]
        if torch.is_grad_enabled() and case.leaves is not None:
            for leaf in inputs[: case.leaves]:
                leaf.requires_grad_()
            y = case.call(*inputs)
            y.backward(case.upstream.to(y.dtype))
            assert all(leaf.grad is not None for leaf in inputs[: case.leaves])
        else:
            case.call(*inputs)
    x, place = torch.randn(1, 1, 4, 4, 4), torch.zeros(1, dtype=torch.long)
    sampler_step_at(
        x, x + 1, x + 2, torch.ones(1, 6, dtype=torch.float64), place, place,
        seed=1, subjects=place, samples=place,
    )
    winograd(x, torch.randn(2, 1, 3, 3, 3))

for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
    with mode():
        run()
    with mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        run()
    assert "torch._dynamo" not in sys.modules, mode
"""


def test_no_call_imports_the_compiler():
    done = subprocess.run(
        [sys.executable, "-c", CALLS_IN_EVERY_MODE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def values():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 4, 2, 3, 3), torch.randn(4), torch.randn(4)
    return [t.requires_grad_() for t in (x, weight, bias)]


def test_a_gradient_of_a_gradient_is_refused():
    x, weight, bias = values()
    (grad,) = torch.autograd.grad(group_norm_gelu(x, weight, bias).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="mri2pet::group_norm_gelu_backward has no gradient"):
        grad.sum().backward()


def step_in_place(x):
    t, one = make_table("ddpm", "v", 4), torch.zeros(1, dtype=torch.long)
    x0 = torch.zeros_like(x)
    place = {"seed": 1, "subjects": one, "samples": one}
    sampler_step_at(x, torch.ones_like(x), x0, t.coefficients, t.timesteps, one, **place)
    return x0


def test_autograd_notices_what_an_op_has_overwritten():
    x, factor = torch.randn(1, 1, 2, 4, 4), torch.ones((), requires_grad=True)
    y, before = x * factor, x._version
    x0 = step_in_place(x)
    assert x._version > before
    assert x0._version > 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with torch.inference_mode():
        step_in_place(x.clone())  # a tensor without a version


@operation("mri2pet_tests::twice", devices="cpu")
def twice(x: Tensor) -> Tensor:
    return x * 2


@torch.library.register_fake(twice)
def twice_fake(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_the_compiler_does_not_look_into_a_kernel():
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph.code)
        return graph.forward

    def loop(x):
        for _ in range(2):  # a break in a loop leaves the calls in it to the interpreter
            torch._dynamo.graph_break()
            x = twice(x)
        return x

    assert torch.equal(torch.compile(loop, backend=keep)(torch.ones(3)), torch.full((3,), 4.0))
    assert graphs == []
    compiled = torch.compile(lambda x: twice(x) + 1, backend=keep, fullgraph=True)
    assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 3.0))
    assert len(graphs) == 1
    assert "mri2pet_tests.twice" in graphs[0]
