"""The torch engine in each precision."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest
import torch

from mri2pet.checkpoint import Model
from mri2pet.config import ModelConfig
from mri2pet.diffusion.graphed_loop import Loops
from mri2pet.engines.sampling import sample, sample_subjects
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.convolution import Conv3d

SHAPE = (16, 32, 32)


@pytest.fixture(params=["embedding", "concat"])
def model(request):
    torch.manual_seed(0)
    config = ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE, prediction="v", cond=request.param)
    network = Network(config).requires_grad_(False).eval()
    network.to(memory_format=torch.channels_last_3d)
    return Model(network, config, 1.0, 0.5)


def draw(engine, **options):
    mri = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    return sample(engine, mri, samples=3, steps=4, batch=2, **options)


def test_bf16_is_near_fp32_and_leaves_the_model_alone(model):
    exact = draw(TorchEngine(model))
    engine = TorchEngine(model, "bf16")
    low = draw(engine)
    assert low.dtype == torch.float32
    error = float((low - exact).norm() / exact.norm())
    assert 1e-5 < error < 3e-2
    assert all(p.dtype == torch.float32 for p in model.network.parameters())
    assert engine.precision == "bf16"


def test_a_precision_that_cannot_be_is_refused(model):
    with pytest.raises(UsageError, match="needs a GPU"):
        TorchEngine(model, "fp16")
    with pytest.raises(UsageError, match="'int8' is none of"):
        TorchEngine(model, "int8")


def test_subjects_share_batches_and_keep_their_volumes(model):
    mris = torch.rand(3, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    subjects = [4, 2**64 - 1, 9]
    together = sample_subjects(model, mris, subjects, samples=2, steps=3, batch=4)
    assert together.shape == (3, 2, 1, *SHAPE)
    for i, subject in enumerate(subjects):
        alone = sample(model, mris[i : i + 1], samples=2, steps=3, subject=subject)
        torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-4)
    assert not torch.equal(together[0], together[2])
    with pytest.raises(UsageError, match="3 MRIs and 2 subjects"):
        sample_subjects(model, mris, subjects[:2])


def tf32_allowed():
    """What cuDNN's convolutions ask."""
    convolution = getattr(torch.backends.cudnn, "conv", None)  # from torch 2.9 on
    if convolution is None:
        return torch.backends.cudnn.allow_tf32
    return convolution.fp32_precision == "tf32"


def test_fp32_is_float32_where_torch_would_take_tf32(model, monkeypatch):
    """TF32 as cuDNN makes it, emulated: a convolution's operands rounded to 10 bits where the
    setting allows it."""
    convolve = torch.nn.functional.conv3d

    def rounded(value):
        return (value.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32)

    def like_cudnn(x, weight, *rest):
        if tf32_allowed():
            x, weight = rounded(x.contiguous()), rounded(weight.contiguous())
        return convolve(x, weight, *rest)

    exact = draw(TorchEngine(model))
    monkeypatch.setattr(
        Conv3d, "forward", lambda self, x: like_cudnn(x, self.weight, self.bias, 1, 1)
    )
    assert tf32_allowed()
    difference = [
        float((draw(TorchEngine(model, tf32=tf32)) - exact).norm() / exact.norm())
        for tf32 in (False, True)
    ]
    assert difference[0] < 1e-5 < 1e-4 < difference[1]
    assert tf32_allowed()  # the caller's setting is back


def test_what_the_mri_makes_expect_is_summed_up_without_tf32(model, monkeypatch):
    guide, allowed = Network.guide, []

    def seen(self, mri):
        allowed.append(tf32_allowed())
        return guide(self, mri)

    monkeypatch.setattr(Network, "guide", seen)
    for tf32 in (False, True):
        TorchEngine(model, tf32=tf32).condition(torch.rand(1, 1, *SHAPE), torch.tensor([5]))
    assert allowed == [False, True]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_nothing_waits_in_the_loop(model, precision):
    from torch.profiler import ProfilerActivity, profile

    exact = draw(TorchEngine(model))
    network = Network(model.config).requires_grad_(False).eval()
    network.load_state_dict(model.network.state_dict())
    network.to("cuda").to(memory_format=torch.channels_last_3d)
    engine = TorchEngine(Model(network, model.config, 1.0, 0.5), precision)
    drawn = draw(engine).cpu()
    assert all(loop.works for loop in engine.loops.made.values())
    assert float((drawn - exact).norm() / exact.norm()) < (1e-3 if precision == "fp32" else 3e-2)

    def waits(steps: int) -> Counter[str]:
        mri = torch.rand(1, 1, *SHAPE)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
            sample(engine, mri, samples=2, steps=steps, batch=2)
        names = [event.name for event in trace.events()]
        return Counter(n for n in names if "Synchronize" in n or n == "cudaMemcpy")

    waits(12)  # captures the loop of 12 steps, which waits
    assert waits(4) == waits(12)


def graph(run, device):
    """A capture that, as a CUDA graph, holds neither the loop nor the engine."""
    step, evaluate = weakref.WeakMethod(run.func), weakref.WeakMethod(*run.args)
    return lambda: step()(evaluate())


def test_a_model_keeps_one_engine_and_lets_go_of_it(model):
    """Captured loops hold memory of a GPU: they go with the model, at once, without the garbage
    collector."""
    mri = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    sample(model, mri, samples=1, steps=2)
    engine = model.engine
    sample(model, mri, samples=1, steps=3)
    assert model.engine is engine
    engine.loops = Loops(graph)
    sample(model, mri, samples=1, steps=2)
    (loop,) = engine.loops.made.values()
    assert loop.works
    watched = [weakref.ref(loop), weakref.ref(engine)]
    gc.disable()
    try:
        model.engine = None
        del engine, loop
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()
