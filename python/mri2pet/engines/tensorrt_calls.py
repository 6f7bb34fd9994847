"""TensorRT's calls, in the order that is valid from 10.13 to 11.4, each return value checked.

TensorRT tells of a failure by what it returns, not by an exception. The module object is an
argument, so that the order and every failure can be tested without the libraries.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.errors import ModelError

ALIGNMENT = 256
OPTIMIZATION_LEVEL = 3


@dataclass(frozen=True)
class BoundTensor:
    """An input or output of a plan: float32, with a static shape."""

    name: str
    is_input: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LoadedPlan:
    """A plan ready to run; what made an object lives as long as the object.

    Attributes:
        logger, runtime, engine, context: TensorRT's objects.
        tensors: inputs and outputs, in the plan's order.
        scratch_bytes: memory that an evaluation needs beside them.
    """

    logger: Any
    runtime: Any
    engine: Any
    context: Any
    tensors: tuple[BoundTensor, ...]
    scratch_bytes: int


def build_plan(
    tensorrt: Any, onnx_file: Path, *, workspace: int, timing_cache: bytes
) -> tuple[bytes, bytes]:
    """Builds a strongly typed plan for the current GPU, without TF32.

    Args:
        tensorrt: the module.
        onnx_file: a graph that follows `export.policy`.
        workspace: largest scratch memory of a layer, in bytes.
        timing_cache: what an earlier build returned, or nothing.

    Returns:
        The plan and the timing cache.

    Raises:
        ModelError: names the call that failed.
    """
    logger = _logger(tensorrt)
    builder = _made(tensorrt.Builder(logger), "Builder")
    # By name: the integer behind the flag differs between TensorRT 10 and 11.
    flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _made(builder.create_network(flags), "create_network")
    parser = _made(tensorrt.OnnxParser(network, logger), "OnnxParser")
    if not parser.parse_from_file(str(onnx_file)):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ModelError(f"TensorRT: parse_from_file failed on {onnx_file}: {errors}")
    config = _made(builder.create_builder_config(), "create_builder_config")
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace)
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    cache = _made(config.create_timing_cache(timing_cache), "create_timing_cache")
    if timing_cache and not config.set_timing_cache(cache, False):
        # It is of another driver or another set of the GPU's properties.
        return build_plan(tensorrt, onnx_file, workspace=workspace, timing_cache=b"")
    if not timing_cache:
        _made(config.set_timing_cache(cache, False), "set_timing_cache")
    plan = builder.build_serialized_network(network, config)
    plan = bytes(_made(plan, "build_serialized_network"))
    return plan, bytes(_made(cache.serialize(), "serialize of the timing cache"))


def load_plan(tensorrt: Any, plan: bytes) -> LoadedPlan:
    """Makes a plan ready, without scratch memory; its GPU must be the current one.

    Raises:
        ModelError: names the call that failed, or a tensor that is dynamic or not float32.
    """
    logger = _logger(tensorrt)
    runtime = _made(tensorrt.Runtime(logger), "Runtime")
    engine = _made(runtime.deserialize_cuda_engine(plan), "deserialize_cuda_engine")
    ours = tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
    context = _made(engine.create_execution_context(ours), "create_execution_context")
    tensors = tuple(_tensor(tensorrt, engine, i) for i in range(engine.num_io_tensors))
    scratch = int(engine.device_memory_size_v2)
    return LoadedPlan(logger, runtime, engine, context, tensors, scratch)


@functools.cache
def _logger(tensorrt: Any) -> Any:
    """One for all calls: TensorRT keeps the first one that lives, and warns of every other."""
    return tensorrt.Logger(tensorrt.Logger.WARNING)


def _tensor(tensorrt: Any, engine: Any, index: int) -> BoundTensor:
    name = engine.get_tensor_name(index)
    mode = engine.get_tensor_mode(name)
    shape = tuple(int(size) for size in engine.get_tensor_shape(name))
    if engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT:
        raise ModelError(f"TensorRT: get_tensor_dtype says that {name} is not float32")
    if min(shape, default=1) < 1:
        raise ModelError(f"TensorRT: get_tensor_shape says that {name} has no fixed shape")
    return BoundTensor(name, mode == tensorrt.TensorIOMode.INPUT, shape)


def bind(plan: LoadedPlan, addresses: dict[str, int], *, scratch: int) -> None:
    """Gives every input and output, and the layers between, their device memory.

    Args:
        addresses: of each tensor, multiples of 256 bytes.
        scratch: address of `plan.scratch_bytes` bytes, a multiple of 256.

    Raises:
        ModelError: a tensor is missing or misaligned, or a call failed.
    """
    for tensor in plan.tensors:
        address = addresses.get(tensor.name)
        if not address or address % ALIGNMENT:
            raise ModelError(
                f"TensorRT: {tensor.name} has no memory at a multiple of {ALIGNMENT} bytes"
            )
        call = f"set_tensor_address({tensor.name})"
        _made(plan.context.set_tensor_address(tensor.name, address), call)
    if not scratch or scratch % ALIGNMENT:
        raise ModelError(f"TensorRT: no scratch memory at a multiple of {ALIGNMENT} bytes")
    plan.context.set_device_memory(scratch, plan.scratch_bytes)
    missing = plan.context.infer_shapes()
    if missing:
        raise ModelError(f"TensorRT: infer_shapes misses {', '.join(missing)}")


def execute(plan: LoadedPlan, stream: int) -> None:
    """Enqueues one evaluation.

    Args:
        stream: handle of a CUDA stream, not the default one.

    Raises:
        ModelError: the call failed.
    """
    _made(plan.context.execute_async_v3(stream), "execute_async_v3")


def _made(value: Any, call: str) -> Any:
    if value is None or value is False:
        raise ModelError(f"TensorRT: {call} failed")
    return value
