"""What holds for every op that is benchmarked, on the CPU and a GPU: schema, stream, autocast."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mri2pet.bench.cases import Case, cases

pytestmark = pytest.mark.usefixtures("native")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def one_of_each(device: str, dtype: str = "float32") -> list[Case]:
    """Each op at the last, smallest of its sizes."""
    torch.manual_seed(0)
    return list({case.op: case for case in cases(device, dtype, scale=4)}.values())


def forward_and_backward(case: Case) -> tuple[torch.Tensor, ...]:
    if case.leaves is None:
        return (case.call(*case.inputs),)
    leaves = [t.detach().requires_grad_() for t in case.inputs[: case.leaves]]
    y = case.call(*leaves, *case.inputs[case.leaves :])
    return (y.detach(), *torch.autograd.grad(y, leaves, case.upstream.to(y.dtype)))


class Recorder(TorchDispatchMode):
    """Keeps the calls of our own ops, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace == "mri2pet":
            self.calls[str(func)] = (func, args, kwargs or {})
        return result


@pytest.mark.parametrize("device", DEVICES)
def test_schema_fake_and_autograd_are_consistent(device):
    found = set()
    for case in one_of_each(device):
        with Recorder() as recorder:
            forward_and_backward(case)
        for name, (op, args, kwargs) in recorder.calls.items():
            plain = [a.detach().clone() if isinstance(a, torch.Tensor) else a for a in args]
            torch.library.opcheck(op, tuple(plain), kwargs)
            found.add(name.split(".")[1])
        assert case.op in found
    assert {"linear_attention_backward", "group_norm_gelu_backward"} <= found


@pytest.mark.gpu
def test_a_launch_waits_for_what_its_stream_did_before():
    for case in one_of_each("cuda"):
        expected = forward_and_backward(case)
        late = [t.clone() for t in case.inputs]
        for tensor in late:
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            for tensor, given in zip(late, case.inputs, strict=True):
                tensor.copy_(given)
            delayed = Case(**{**vars(case), "inputs": tuple(late)})
            values = forward_and_backward(delayed)
        stream.synchronize()
        for value, right in zip(values, expected, strict=True):
            assert torch.equal(value, right), case.op


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_gives_what_half_activations_give(device, dtype):
    half = getattr(torch, dtype)
    for case in one_of_each(device):
        x = case.inputs[0].to(half)
        direct = case.call(x, *case.inputs[1:]) if case.op == "linear_attention" else None
        with torch.autocast(device, dtype=half):
            values = forward_and_backward(case)
        assert all(torch.isfinite(value).all() for value in values)
        assert values[0].dtype == (half if direct is not None else torch.float32)
        if direct is not None:
            assert torch.equal(values[0], direct)
            assert all(g.dtype == torch.float32 for g in values[1:])
