"""The benchmark of Winograd's convolution, at tiny layers."""

from __future__ import annotations

import json

import pytest

from mri2pet.bench import winograd
from mri2pet.bench.winograd import bench_winograd, format_winograd, layers
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.ops import backend


@pytest.fixture
def tiny(monkeypatch):
    try:
        backend.native()
    except UsageError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(
        winograd, "layers", lambda preset: {(8, 8, (4, 16, 16)): 2, (1, 8, (2, 4, 4)): 1}
    )


def test_rows_and_their_sum(tiny, monkeypatch):
    monkeypatch.setattr(backend, "_INSTRUCTION_SET", "avx2")
    seen = []
    result = bench_winograd("compact", threads=1, on_row=lambda so_far: seen.append(so_far))
    assert len(seen) == 2
    first, second = result["rows"]
    assert first["channels"] == [8, 8]
    assert first["auto"]
    assert not second["auto"]
    assert first["winograd_ms"]["min"] <= first["winograd_ms"]["median"]
    for row, (library, own) in zip(result["rows"], [(5.0, 2.0), (1.0, 3.0)], strict=True):
        row["library_ms"]["median"], row["winograd_ms"]["median"] = library, own
    text = format_winograd(json.loads(json.dumps(result)))
    assert "all of an evaluation: library 11.0 ms, as auto chooses 5.0 ms" in text


def test_a_wrong_kernel_is_not_timed(tiny, monkeypatch):
    monkeypatch.setattr("mri2pet.ops.winograd.winograd", lambda x, weight, kept: x[:, :8] * 0 + 1)
    with pytest.raises(Mri2petError, match="8 to 8 channels differ by"):
        bench_winograd("compact", threads=1)


def test_the_layers_are_those_of_the_network():
    found = layers("compact")
    assert sum(found.values()) == 40
    assert found[24, 24, (32, 64, 64)] == 2
    assert found[2, 8, (32, 64, 64)] == 1
