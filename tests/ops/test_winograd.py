"""Winograd's convolution on the CPU: against plain torch in float64, and when it is chosen."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from mri2pet.nn.convolution import Conv3d
from mri2pet.ops import backend, convolution_choice
from mri2pet.ops.convolution_choice import use_convolution, winograd_takes
from mri2pet.ops.winograd import TransformedWeights, reference, transform, winograd

pytestmark = pytest.mark.usefixtures("native", "nan_filled")

LAST = torch.channels_last_3d
#: Of the norm. The plain sum in float32 has 1e-7 to 3e-7.
LARGEST_ERROR = 1.5e-6
# Batch, volume, channels in and out.
SIZES = [
    (1, (1, 1, 1), 1, 1),
    (3, (2, 5, 3), 1, 8),
    (2, (3, 4, 4), 5, 9),
    (1, (4, 9, 33), 8, 8),
    (2, (5, 7, 41), 12, 8),
    (1, (8, 16, 32), 24, 24),
    (1, (3, 18, 10), 24, 12),
    (1, (4, 12, 20), 48, 48),
    (1, (7, 6, 70), 33, 27),
    (1, (2, 8, 8), 64, 128),
]


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs_of(size):
    batch, volume, cin, cout = size
    x = normal(batch, cin, *volume) * 2 + 0.5
    return x, normal(cout, cin, 3, 3, 3, seed=1) / (27 * cin) ** 0.5, normal(cout, seed=2)


def error(value, exact):
    return float((value.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_the_convolution_at_every_size(size):
    x, weight, bias = (t.float() for t in inputs_of(size))
    x = x.contiguous(memory_format=LAST)
    for added in (None, bias):
        wide = None if added is None else added.double()
        exact = reference(x.double(), weight.double(), wide)
        y = winograd(x, weight, added)
        assert y.shape == exact.shape
        assert y.is_contiguous(memory_format=LAST)
        assert error(y, exact) < LARGEST_ERROR


def test_layouts_do_not_change_the_bits():
    x, weight, bias = (t.float() for t in inputs_of((2, (5, 7, 10), 24, 12)))
    y = winograd(x.contiguous(memory_format=LAST), weight, bias)
    assert torch.equal(winograd(x, weight, bias), y)
    assert torch.equal(winograd(x, weight.contiguous(memory_format=LAST), bias), y)
    assert torch.equal(winograd(x.transpose(3, 4).contiguous().transpose(3, 4), weight, bias), y)


def test_bits_depend_on_neither_threads_nor_batch(restored_threads):
    x, weight, _ = (t.float() for t in inputs_of((2, (9, 40, 36), 24, 24)))
    x = x.contiguous(memory_format=LAST)
    values = []
    for threads in (1, 2, 3, 1):
        torch.set_num_threads(threads)
        values.append(winograd(x, weight))
    assert all(torch.equal(value, values[0]) for value in values)
    alone = [winograd(one[None].contiguous(memory_format=LAST), weight) for one in x]
    assert torch.equal(torch.cat(alone), values[0])


def test_the_error_is_as_stated_for_activations_behind_a_gelu():
    x, weight, _ = inputs_of((1, (8, 32, 32), 24, 24))
    x = F.gelu(x - 0.5).float().contiguous(memory_format=LAST)
    exact = reference(x.double(), weight.float().double())
    assert error(winograd(x, weight.float()), exact) < LARGEST_ERROR


@pytest.mark.parametrize(
    "instruction_set", ["generic", pytest.param("avx2", marks=pytest.mark.slow)]
)
def test_every_build_of_the_kernel(instruction_set):
    code = (
        "import torch; from mri2pet.ops.winograd import reference, winograd\n"
        "torch.manual_seed(0)\n"
        "sizes = (1, 24, 24, (4, 9, 10)), (2, 5, 7, (3, 5, 6)), (1, 20, 12, (2, 8, 33))\n"
        "for b, c, o, s in sizes:\n"
        "    x, w = torch.randn(b, c, *s), torch.randn(o, c, 3, 3, 3)\n"
        "    exact = reference(x.double(), w.double())\n"
        "    print(float((winograd(x, w) - exact).norm() / exact.norm()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MRI2PET_ISA": instruction_set},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [float(line) < LARGEST_ERROR for line in finished.stdout.split()] == [True] * 3


def test_infinities_and_nans_stay_near_where_they_are():
    x, weight, _ = (t.float() for t in inputs_of((1, (4, 24, 24), 8, 8)))
    x[0, 3, 1, 5, 5] = float("inf")
    y = winograd(x, weight)
    assert not torch.isfinite(y[0, :, 1, 5, 5]).any()
    assert torch.isfinite(y[0, :, :, 12:, 12:]).all()


def test_weights_are_transformed_once_and_again_when_they_change(monkeypatch):
    made = []
    monkeypatch.setattr(
        "mri2pet.ops.winograd.transform", lambda weight: made.append(1) or transform(weight)
    )
    x, weight, _ = (t.float() for t in inputs_of((1, (2, 8, 8), 8, 8)))
    kept = TransformedWeights()
    first = winograd(x, weight, kept=kept)
    assert torch.equal(winograd(x, weight, kept=kept), first)
    assert len(made) == 1
    weight.data.mul_(2)  # which no version counter sees
    torch.testing.assert_close(winograd(x, weight, kept=kept), 2 * first)
    assert len(made) == 2
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        winograd(x, weight, kept=other)
    assert len(made) == 4


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"weight": (8, 9, 3, 3, 3)}, ValueError, "weight"),
        ({"weight": (8, 8, 1, 1, 1)}, ValueError, "weight"),
        ({"bias": (9,)}, ValueError, "bias"),
        ({"dtype": torch.float64}, TypeError, "float64"),
    ],
)
def test_what_the_op_refuses(change, kind, text):
    dtype = change.get("dtype", torch.float32)
    x = torch.zeros(1, 8, 2, 4, 4, dtype=dtype)
    weight = torch.zeros(change.get("weight", (8, 8, 3, 3, 3)), dtype=dtype)
    bias = torch.zeros(change.get("bias", (8,)), dtype=dtype)
    with pytest.raises(kind, match=text):
        winograd(x, weight, bias)


def test_schema_and_fake_are_consistent():
    x, weight, bias = (t.float() for t in inputs_of((1, (2, 5, 6), 4, 6)))
    op = torch.ops.mri2pet.winograd.default
    torch.library.opcheck(op, (x, transform(weight), bias, 6))


# ---- When it is chosen.


def layer(cin=24, cout=24, shape=(4, 16, 16), dtype=torch.float32, layout=LAST):
    x = torch.zeros(1, cin, *shape, dtype=dtype).contiguous(memory_format=layout)
    return x, torch.zeros(cout, cin, 3, 3, 3, dtype=dtype)


@pytest.fixture
def measured(monkeypatch):
    """A processor with AVX2 or more, on which auto decides."""
    monkeypatch.setattr(backend, "_INSTRUCTION_SET", "avx2")
    with torch.no_grad(), backend.use_backend("auto"), use_convolution("auto"):
        yield


def test_auto_takes_what_was_measured_to_be_faster(measured, monkeypatch):
    assert winograd_takes(*layer())
    assert winograd_takes(*layer(cout=8))
    assert not winograd_takes(*layer(cin=2))
    assert not winograd_takes(*layer(cout=4))
    assert not winograd_takes(*layer(shape=(4, 8, 8)))
    assert not winograd_takes(*layer(layout=torch.contiguous_format))
    assert not winograd_takes(*layer(dtype=torch.bfloat16))
    x, weight = layer(shape=(4, 8, 8))
    assert not winograd_takes(x.expand(8, -1, -1, -1, -1), weight), "a batch decides nothing"
    monkeypatch.setattr(backend, "_INSTRUCTION_SET", "generic")
    assert not winograd_takes(*layer())


def test_the_switches_are_followed(measured):
    with use_convolution("library"):
        assert not winograd_takes(*layer())
    with use_convolution("native"):
        assert winograd_takes(*layer(cin=1, shape=(1, 2, 3), layout=torch.contiguous_format))
    for name in ("folded", "reference"):
        with backend.use_backend(name):
            assert not winograd_takes(*layer())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not winograd_takes(*layer())
    with torch.enable_grad():
        x, weight = layer()
        assert winograd_takes(x, weight)
        assert not winograd_takes(x, weight.requires_grad_())


def test_the_module_takes_it_without_gradient_and_the_library_with(measured, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "mri2pet.nn.convolution.winograd",
        lambda *given: taken.append(given) or winograd(*given),
    )
    conv = Conv3d(24, 24, bias=True)
    x = torch.randn(1, 24, 4, 16, 16).contiguous(memory_format=LAST)
    own = conv(x)
    assert len(taken) == 1
    with use_convolution("library"):
        torch.testing.assert_close(own, conv(x), rtol=1e-5, atol=1e-5)
    with torch.enable_grad():
        conv(x).sum().backward()
    assert len(taken) == 1
    assert convolution_choice.get_convolution() == "auto"


def test_the_network_gives_what_it_gives_with_the_library(measured):
    """An evaluation, `compact` on an eighth of its volume: 5e-6 of the norm is what is stated."""
    from mri2pet.nn.unet import UNet

    torch.manual_seed(0)
    unet = UNet(2).eval().to(memory_format=LAST)
    x = torch.randn(1, 2, 16, 32, 32).contiguous(memory_format=LAST)
    bias = unet.block_biases(torch.randn(1, 256))
    own = unet(x, bias)
    with use_convolution("library"):
        library = unet(x, bias)
    assert not torch.equal(own, library)
    assert error(own, library.double()) < 5e-6
