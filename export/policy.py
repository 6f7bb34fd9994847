"""What an exported graph may hold, so that every engine computes it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mri2pet.errors import ModelError

if TYPE_CHECKING:
    import onnx

# In it every operator below has a CUDA kernel in each ONNX Runtime from 1.20 on. `ReduceMax` 20 has
# none before 1.26, and 1.27 wants CUDA 13. `Gelu` came with opset 20; here it is `Erf`, which ONNX
# Runtime fuses again. From opset 21 on torch exports `GroupNormalization`.
OPSET = 18
#: What a graph may hold: operator → its version at OPSET.
KERNELS = {
    "Add": 14,
    "Cast": 13,
    "Concat": 13,
    "Conv": 11,
    "Div": 14,
    "Erf": 13,
    "Exp": 13,
    "Expand": 13,
    "Gemm": 13,
    "MatMul": 13,
    "MaxPool": 12,
    "Mul": 14,
    "Reciprocal": 13,
    "ReduceMax": 18,
    "ReduceMean": 18,
    "ReduceSum": 13,
    "Relu": 14,
    "Reshape": 14,
    "Resize": 18,
    "Sigmoid": 13,
    "Slice": 13,
    "Sqrt": 13,
    "Squeeze": 13,
    "Sub": 14,
    "Transpose": 13,
    "Unsqueeze": 13,
}


def check_policy(model: onnx.ModelProto) -> None:
    """Refuses a graph that some engine would compute wrongly or not at all.

    Operators outside `KERNELS` (a `GroupNormalization` is silently wrong in TensorRT), another
    opset, dynamic shapes, external data, a `Resize` that is not linear with given sizes, and a
    norm or sum reduced in half precision.

    Raises:
        ModelError: names the first break of the rules.
    """
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("") != OPSET or set(versions) - {""}:
        raise ModelError(f"export: opset {versions} is not opset {OPSET} alone")
    if model.functions:
        raise ModelError("export: the graph holds local functions")
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                raise ModelError(f"export: {value.name} has a dynamic shape")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(f"export: {tensor.name} lies outside the file")
    types = _types(model)
    for node in model.graph.node:
        if node.op_type not in KERNELS:
            raise ModelError(f"export: operator {node.op_type} ({node.name}) is not allowed")
        if node.op_type == "Resize":
            _check_resize(node)
        half = types.get(node.input[0]) == onnx.TensorProto.FLOAT16 if node.input else False
        if half and node.op_type in ("ReduceMean", "ReduceSum", "Exp"):
            raise ModelError(f"export: {node.op_type} ({node.name}) works in half precision")


def _types(model: onnx.ModelProto) -> dict[str, int]:
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def _check_resize(node: onnx.NodeProto) -> None:
    modes = [a.s.decode() for a in node.attribute if a.name == "mode"]
    has_sizes = len(node.input) == 4 and bool(node.input[3]) and not node.input[2]
    if modes != ["linear"] or not has_sizes:
        raise ModelError(f"export: Resize ({node.name}) must be linear with given sizes")
