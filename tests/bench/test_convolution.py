"""The benchmark of the small-channel convolution, with the kernel's reference in its place."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from mri2pet.bench import convolution
from mri2pet.bench.convolution import Layer, bench_convolution, layers, measurements
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.ops import backend, conv3d
from mri2pet.ops.convolution_choice import Layer as Key
from mri2pet.ops.convolution_choice import Tile


@pytest.fixture
def stand_in(monkeypatch):
    """A kernel of two tiles: tile 0 takes planes × 1 ms, tile 1 gives what `wrong` says."""
    state = SimpleNamespace(wrong=None, last=0)

    def kernel(x, weight, x2=None, norm=None, *, statistics=False, variant=0, planes=0):
        state.last = planes
        if variant == 1 and state.wrong is None:
            raise ValueError("refused")
        y = conv3d.reference(x.float(), weight.float(), x2, norm).to(x.dtype)
        return (y if variant == 0 else y + 1), torch.zeros(1)

    def measure(calls, device, **options):
        state.last = 3
        calls[0]()
        return {"median_s": (state.last or 9) * 1e-3}

    monkeypatch.setattr(conv3d, "conv3d", kernel)
    monkeypatch.setattr(convolution, "measure", measure)
    monkeypatch.setattr(backend, "native", lambda: SimpleNamespace(conv3d_variants=2))
    monkeypatch.setattr("mri2pet.ops.group_norm_gelu", lambda x, w, b: x)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return state


def row(cin, cout, batch=1):
    layer = Layer((cin, cout), (4, 8, 8), batch, "float16", "cpu")
    return {"times": 2} | layer.row((1e11, 1e12), 7)


def result(rows):
    place = dict.fromkeys(("device", "device_name", "threads", "cpu_count", "torch", "revision"), 1)
    faster = [[k, t] for table in measurements(rows, "cpu").values() for k, t in table.items()]
    return {
        "environment": place | {"load_average_1min": 0.0},
        "copy_bytes_per_s": 1e11,
        "rows": rows,
        "blocks": [],
        "faster": faster,
    }


def test_the_fastest_right_tile_is_chosen(stand_in):
    found = row(8, 16)
    assert found["library_ms"] == 3
    assert found["best"] == {
        "variant": 0, "planes": 2, "errors": found["best"]["errors"], "ms": 2.0, "fused_ms": 2.0,
    }  # fmt: skip
    assert {t["refused"] for t in found["tiles"] if t["variant"] == 1} == {"refused"}
    assert measurements([found], "cpu") == {(9, 0): {Key(8, 16, (4, 8, 8)): Tile(0, 2)}}
    text = convolution.format_convolution(json.loads(json.dumps(result([found]))))
    assert "library 6.000 ms, native 4.000 ms" in text
    assert "Layer(8, 16, [4, 8, 8]): Tile(0, 2)," in text


def test_a_tile_that_is_wrong_is_never_timed_and_fails_the_benchmark(stand_in):
    stand_in.wrong = True
    found = row(8, 16)
    assert found["best"]["variant"] == 0
    assert all("ms" not in t for t in found["tiles"] if t["variant"] == 1)
    with pytest.raises(Mri2petError, match=r"wrong tiles: \[8, 16\] \[1, 8, 4, 8, 8\] float16"):
        convolution.raise_unless_right(result([found]))


def test_a_layer_that_is_slower_at_one_batch_stays_with_the_library(stand_in):
    rows = [row(8, 16), row(8, 16, batch=2) | {"library_ms": 1.0}]
    assert measurements(rows, "cpu") == {(9, 0): {}}


def test_layers_of_both_presets():
    paper, compact = list(layers("paper")), list(layers("compact"))
    assert paper[0] == ((1, 8), (32, 128, 128), 1)
    assert compact[0][0] == (2, 8)
    assert sum(times for *_, times in paper) == 19


def test_without_a_gpu_it_is_refused():
    with pytest.raises(UsageError, match="CUDA alone"):
        bench_convolution(device="cpu")
    with pytest.raises(UsageError, match="float32"):
        bench_convolution(dtypes=["float32"])
