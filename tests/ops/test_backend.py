"""Which form of the ops runs, and what is refused."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.errors import UsageError
from mri2pet.ops import (
    backend,
    group_norm_gelu,
    laplacian_pyramid_loss,
    linear_attention,
    sampler_step,
)

ROW = torch.zeros(6, dtype=torch.float64)


def on_fake_cuda(op, x):
    """The op on tensors that say they are on a GPU and have no memory."""

    def like(*shape):
        return torch.empty(*shape, device="cuda")

    if op == "linear_attention":
        return linear_attention(x, like(384, 8), like(8, 128), like(8))
    if op == "group_norm_gelu":
        return group_norm_gelu(x, like(8), like(8))
    if op == "laplacian_pyramid_loss":
        return laplacian_pyramid_loss(x, x, like(1), 0.25)
    one = torch.zeros(1, dtype=torch.int64)
    return sampler_step(x, x, x, ROW, seed=0, step=1, subjects=one, samples=one)


@pytest.mark.parametrize("name", ["auto", "folded", "reference"])
def test_known_backends(name):
    with backend.use_backend(name):
        assert backend.get_backend() == name


def test_native_is_known_where_it_is_built(native):
    assert backend.get_backend() == "native"


def test_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="'fast' is not one of auto, native"):
        backend.set_backend("fast")


def test_native_without_the_module_is_refused_and_the_rest_is_not(monkeypatch):
    monkeypatch.setattr(backend, "_NATIVE", None)
    with pytest.raises(UsageError, match=r"ops.backend 'native' .* not built; install mri2pet"):
        backend.set_backend("native")
    with pytest.raises(UsageError, match="not built"):
        backend.native()
    with backend.use_backend("auto"):
        assert backend.chosen("group_norm_gelu", torch.zeros(1)) == "folded"


def test_a_wrong_environment_variable_is_one_sentence():
    code = (
        "from mri2pet.errors import UsageError\n"
        "try:\n    import mri2pet.ops\nexcept UsageError as error:\n    print(error)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, backend.ENVIRONMENT: "fast"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == ("ops.backend 'fast' is not one of auto, native, folded, reference\n")


@pytest.mark.parametrize(
    "op", ["linear_attention", "group_norm_gelu", "laplacian_pyramid_loss", "sampler_step"]
)
def test_a_cuda_tensor_meets_a_build_without_cuda(op, native, monkeypatch):
    monkeypatch.setattr(backend, "_HAS_CUDA", False)
    shape = (1, 8, 4, 32, 32)
    with FakeTensorMode(), pytest.raises(UsageError) as caught:
        on_fake_cuda(op, torch.empty(shape, device="cuda"))
    assert str(caught.value).startswith(f"{op}: x {shape} is on cuda:0, but")
    assert "without CUDA kernels" in str(caught.value)


@pytest.mark.parametrize(("channels", "width"), [(129, 32), (8, 33)])
def test_attention_beyond_the_cuda_kernels(channels, width, native, monkeypatch):
    """`native` refuses with the shape; `auto` takes the folded form."""
    monkeypatch.setattr(backend, "_HAS_CUDA", True)
    shape = (1, channels, 2, 3, 4)
    with FakeTensorMode():
        x, w_qkv = (torch.empty(*s, device="cuda") for s in (shape, (12 * width, channels)))
        w_out, bias = (torch.empty(*s, device="cuda") for s in ((channels, 4 * width), (channels,)))
        with pytest.raises(ValueError, match=r"linear_attention: x \(1, .* = 1\d\d is more than"):
            linear_attention(x, w_qkv, w_out, bias)
        module = importlib.import_module("mri2pet.ops.linear_attention")
        monkeypatch.setattr(module, "folded", lambda *arguments: "folded")
        with backend.use_backend("auto"):
            assert linear_attention(x, w_qkv, w_out, bias) == "folded"


def test_many_channels_stay_native_on_the_cpu(native):
    from mri2pet.ops.linear_attention import folded

    inputs = torch.randn(1, 136, 5), torch.randn(480, 136) / 12, torch.randn(136, 160) / 13
    bias = torch.randn(136)
    torch.testing.assert_close(
        linear_attention(*inputs, bias), folded(*inputs, bias), rtol=1e-4, atol=1e-4
    )


def test_the_workspace_is_asked_for_on_the_device_of_the_tensors(monkeypatch):
    """With several GPUs its size may differ: the current device must be that of the launch."""
    current, calls = ["cuda:0"], []

    @contextmanager
    def device(name):
        before, current[0] = current[0], str(name)
        yield
        current[0] = before

    module = SimpleNamespace(
        op_workspace=lambda params, cuda: calls.append(("size", current[0], cuda)) or 16,
        op=lambda params, cuda: calls.append(("launch", current[0], cuda)),
    )
    empty = torch.empty
    monkeypatch.setattr(backend, "_NATIVE", module)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda d: SimpleNamespace(cuda_stream=int(d.index))
    )
    monkeypatch.setattr(torch, "empty", lambda size, dtype, device: empty(size, dtype=dtype))
    streams = []
    params = SimpleNamespace(use=lambda address, size, threads, stream: streams.append(stream))
    backend.launch("op", params, torch.device("cuda:1"))
    assert calls == [("size", "cuda:1", True), ("launch", "cuda:1", True)]
    assert streams == [1, 1]
    assert current == ["cuda:0"]


def test_the_sampling_loop_gives_the_step_what_it_needs_on_the_device(monkeypatch):
    """Coefficients, subjects and samples are moved once, not at each step."""
    seen = []

    def step(x, output, previous, coefficients, *, subjects, samples, **others):
        seen.append({t.device.type for t in (x, previous, coefficients, subjects, samples)})
        return x, previous

    def noise(shape, *, subjects, device, **others):
        return torch.empty(len(subjects), *shape, device=device)

    monkeypatch.setattr("mri2pet.diffusion.loop.sampler_step", step)
    monkeypatch.setattr("mri2pet.diffusion.loop.philox_normal", noise)
    table = make_table("dpmpp", "v", 2)
    run_table(
        lambda x, row: x,
        table,
        torch.empty(2, 1, 360, device="meta"),
        (2, 4, 4),
        seed=0,
        subjects=torch.zeros(1, dtype=torch.int64),
        samples=torch.zeros(1, dtype=torch.int64),
    )
    assert seen == [{"meta"}] * 2
