"""A module that looks like TensorRT's, records its calls and computes with ONNX Runtime."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PLAN = b"FAKE"


class _Recorded:
    def __init__(self, fake: FakeTensorRT) -> None:
        self.__dict__["fake"] = fake

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("builder_optimization_level", "profiling_verbosity"):
            self.fake.calls.append(name)
        self.__dict__[name] = value

    def record(self, call: str, value: Any) -> Any:
        self.fake.calls.append(call)
        return self.fake.failures.get(call, value)


class _Builder(_Recorded):
    def create_network(self, flags: int) -> Any:
        self.fake.flags = flags
        return self.record("create_network", SimpleNamespace(graph=b""))

    def create_builder_config(self) -> Any:
        return self.record("create_builder_config", _Config(self.fake))

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        return self.record("build_serialized_network", PLAN + network.graph)


class _Config(_Recorded):
    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.record("set_memory_pool_limit", None)

    def clear_flag(self, flag: Any) -> None:
        self.record(f"clear_flag({flag.name})", None)

    def create_timing_cache(self, blob: bytes) -> Any:
        cache = SimpleNamespace(serialize=lambda: self.record("serialize", blob + b"t"))
        return self.record("create_timing_cache", cache)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> Any:
        assert ignore_mismatch is False
        return self.record("set_timing_cache", True)


class _Parser(_Recorded):
    num_errors = 1
    network: Any

    def parse_from_file(self, path: str) -> Any:
        self.network.graph = self.fake.on_parse(Path(path).read_bytes())
        return self.record("parse_from_file", True)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: f"error {index}: no such operator")


class _Runtime(_Recorded):
    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        return self.record("deserialize_cuda_engine", _Engine(self.fake, plan))


class _Engine(_Recorded):
    def __init__(self, fake: FakeTensorRT, plan: bytes) -> None:
        import onnxruntime

        super().__init__(fake)
        assert plan.startswith(PLAN)
        self.session = onnxruntime.InferenceSession(
            plan[len(PLAN) :], providers=["CPUExecutionProvider"]
        )
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self.all = self.inputs | self.outputs
        self.num_io_tensors = len(self.all)

    device_memory_size_v2 = 1 << 12

    def create_execution_context(self, strategy: Any) -> Any:
        assert strategy is self.fake.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.record("create_execution_context", _Context(self.fake, self))

    def get_tensor_name(self, index: int) -> str:
        return list(self.all)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.fake.TensorIOMode
        return modes.INPUT if name in self.inputs else modes.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return self.fake.failures.get("get_tensor_shape", self.all[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return self.fake.failures.get("get_tensor_dtype", self.fake.DataType.FLOAT)


class _Context(_Recorded):
    def __init__(self, fake: FakeTensorRT, engine: _Engine) -> None:
        super().__init__(fake)
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.scratch = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size == self.engine.device_memory_size_v2
        self.scratch = memory
        self.record("set_device_memory", None)

    def set_tensor_address(self, name: str, address: int) -> Any:
        self.addresses[name] = address
        return self.record("set_tensor_address", True)

    def infer_shapes(self) -> Any:
        return self.record("infer_shapes", [])

    def execute_async_v3(self, stream_handle: int) -> Any:
        assert stream_handle, "the default stream"
        assert self.scratch
        arrays = {name: self._memory(name) for name in self.engine.all}
        inputs = {name: arrays[name] for name in self.engine.inputs}
        for name, value in zip(
            self.engine.outputs, self.engine.session.run(None, inputs), strict=True
        ):
            arrays[name][...] = value
        return self.record("execute_async_v3", True)

    def _memory(self, name: str) -> np.ndarray:
        shape = self.engine.all[name].shape
        pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, shape=tuple(shape))


class FakeTensorRT:
    """The module. `failures` maps a call to what it returns instead of its result; `on_parse`
    is what the parser makes of a graph."""

    NetworkDefinitionCreationFlag = IntEnum(
        "NetworkDefinitionCreationFlag", [("STRONGLY_TYPED", 1)]
    )
    MemoryPoolType = IntEnum("MemoryPoolType", [("WORKSPACE", 0)])
    ProfilingVerbosity = IntEnum("ProfilingVerbosity", [("DETAILED", 2)])
    BuilderFlag = IntEnum("BuilderFlag", [("TF32", 7)])
    TensorIOMode = IntEnum("TensorIOMode", [("INPUT", 1), ("OUTPUT", 2)])
    ExecutionContextAllocationStrategy = IntEnum(
        "ExecutionContextAllocationStrategy", [("STATIC", 0), ("USER_MANAGED", 2)]
    )
    DataType = IntEnum("DataType", [("FLOAT", 0), ("HALF", 1)])

    def __init__(self, version: str = "10.13.3.9") -> None:
        self.__version__ = version
        self.calls: list[str] = []
        self.failures: dict[str, Any] = {}
        self.flags = 0
        self.on_parse: Callable[[bytes], bytes] = lambda graph: graph

    class Logger:
        WARNING = 2

        def __init__(self, severity: int) -> None:
            self.severity = severity

    def Builder(self, logger: Any) -> Any:
        return _Builder(self).record("Builder", _Builder(self))

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        parser = _Parser(self)
        parser.network = network
        return parser.record("OnnxParser", parser)

    def Runtime(self, logger: Any) -> Any:
        return _Runtime(self).record("Runtime", _Runtime(self))
