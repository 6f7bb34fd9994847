"""TensorRT's calls come in their order, and each failure is told by the call's name."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.engines.tensorrt_calls import bind, build_plan, execute, load_plan
from mri2pet.errors import ModelError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIZE = 1 << 20


@pytest.fixture
def graph(tmp_path):
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8]) for name in "xy"
    ]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    made = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(made, tmp_path / "double.onnx")
    return tmp_path / "double.onnx"


def aligned(count):
    """Zeros whose address is a multiple of 256 bytes."""
    memory = np.zeros(count + 64, np.float32)
    skip = (-memory.ctypes.data % 256) // 4
    return memory[skip : skip + count]


def run(fake, graph):
    plan, _ = build_plan(fake, graph, workspace=SIZE, timing_cache=b"")
    loaded = load_plan(fake, plan)
    memory = {tensor.name: aligned(8) for tensor in loaded.tensors}
    memory["x"][:] = range(8)
    addresses = {name: array.ctypes.data for name, array in memory.items()}
    scratch = aligned(loaded.scratch_bytes // 4)
    bind(loaded, addresses, scratch=scratch.ctypes.data)
    execute(loaded, 7)
    return memory["y"]


def test_the_order_of_the_calls(fake, graph):
    np.testing.assert_array_equal(run(fake, graph), 2 * np.arange(8))
    assert fake.flags == 1 << 1
    assert fake.calls == [
        "Builder",
        "create_network",
        "OnnxParser",
        "parse_from_file",
        "create_builder_config",
        "set_memory_pool_limit",
        "builder_optimization_level",
        "profiling_verbosity",
        "clear_flag(TF32)",
        "create_timing_cache",
        "set_timing_cache",
        "build_serialized_network",
        "serialize",
        "Runtime",
        "deserialize_cuda_engine",
        "create_execution_context",
        "set_tensor_address",
        "set_tensor_address",
        "set_device_memory",
        "infer_shapes",
        "execute_async_v3",
    ]


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("Builder", None),
        ("create_network", None),
        ("parse_from_file", False),
        ("create_builder_config", None),
        ("create_timing_cache", None),
        ("set_timing_cache", False),
        ("build_serialized_network", None),
        ("deserialize_cuda_engine", None),
        ("create_execution_context", None),
        ("get_tensor_dtype", 1),
        ("get_tensor_shape", (-1, 8)),
        ("set_tensor_address", False),
        ("infer_shapes", ["x"]),
        ("execute_async_v3", False),
    ],
)
def test_a_failure_names_its_call(fake, graph, call, value):
    fake.failures[call] = value
    with pytest.raises(ModelError, match=call):
        run(fake, graph)


def test_the_parsers_errors_are_told(fake, graph):
    fake.failures["parse_from_file"] = False
    with pytest.raises(ModelError, match="error 0: no such operator"):
        run(fake, graph)


def test_the_timing_cache_is_kept(fake, graph):
    _, first = build_plan(fake, graph, workspace=SIZE, timing_cache=b"")
    _, second = build_plan(fake, graph, workspace=SIZE, timing_cache=first)
    assert len(second) > len(first) > 0


def test_a_timing_cache_of_another_driver_is_left_out(fake, graph, monkeypatch):
    blobs, config = [], type(fake.Builder(None).create_builder_config())
    create = config.create_timing_cache

    def remembered(self, blob):
        blobs.append(blob)
        return create(self, blob)

    monkeypatch.setattr(config, "create_timing_cache", remembered)
    monkeypatch.setattr(
        config, "set_timing_cache", lambda self, cache, ignore_mismatch: blobs[-1] == b""
    )
    plan, timings = build_plan(fake, graph, workspace=SIZE, timing_cache=b"other")
    assert blobs == [b"other", b""]
    assert plan
    assert timings == b"t"


def test_all_calls_share_one_logger(fake, graph):
    plan, _ = build_plan(fake, graph, workspace=SIZE, timing_cache=b"")
    assert load_plan(fake, plan).logger is load_plan(fake, plan).logger


@pytest.mark.parametrize("shift", [None, 4])
def test_memory_that_is_missing_or_misaligned_is_refused(fake, graph, shift):
    plan, _ = build_plan(fake, graph, workspace=SIZE, timing_cache=b"")
    loaded = load_plan(fake, plan)
    address = aligned(8).ctypes.data
    addresses = {"y": address} if shift is None else {"x": address + shift, "y": address}
    with pytest.raises(ModelError, match="x has no memory"):
        bind(loaded, addresses, scratch=address)
    assert "set_tensor_address" not in fake.calls


@pytest.mark.parametrize("scratch", [0, 4])
def test_scratch_memory_that_is_missing_or_misaligned_is_refused(fake, graph, scratch):
    plan, _ = build_plan(fake, graph, workspace=SIZE, timing_cache=b"")
    address = aligned(8).ctypes.data
    with pytest.raises(ModelError, match="no scratch memory"):
        bind(load_plan(fake, plan), {"x": address, "y": address}, scratch=scratch)
