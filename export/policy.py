"""What an exported graph may hold, so that every engine computes it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mri2pet.errors import ModelError

if TYPE_CHECKING:
    import onnx

OPSET = 20
ALLOWED = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "Conv",
        "Div",
        "Exp",
        "Expand",
        "Gelu",
        "Gemm",
        "MatMul",
        "MaxPool",
        "Mul",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)


def check_policy(model: onnx.ModelProto) -> None:
    """Refuses a graph that some engine would compute wrongly or not at all.

    Operators outside `ALLOWED` (a `GroupNormalization` is silently wrong in TensorRT), another
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
        if node.op_type not in ALLOWED:
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
