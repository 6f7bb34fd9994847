"""Half precision in an export: what is stored in it, and what would overflow."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mri2pet.engines.exported import DENOISER, read_export
from mri2pet.export import export_onnx
from mri2pet.export.plain import PlainAttention, in_half
from mri2pet.export.policy import _types, check_policy
from mri2pet.export.verify import relative_difference
from mri2pet.nn.blocks import Attention

onnx = pytest.importorskip("onnx")

MOVES = {"Cast", "Reshape", "Transpose"}


@pytest.mark.slow
def test_mixed_keeps_all_but_operands_in_float32(model, export, tmp_path):
    folder = export_onnx(model, tmp_path / "mixed", precision="mixed")
    graph = onnx.load(folder / DENOISER)
    check_policy(graph)
    types = _types(graph)
    weights = {t.name for t in graph.graph.initializer}
    half = [n for n in graph.graph.node if types.get(n.output[0]) == onnx.TensorProto.FLOAT16]
    assert {n.op_type for n in half} - MOVES == {"Conv", "MatMul"}
    convolutions = [n for n in graph.graph.node if n.op_type == "Conv"]
    assert all(n.input[1] in weights for n in convolutions)
    assert {types[n.input[1]] for n in convolutions} == {onnx.TensorProto.FLOAT16}
    manifest = read_export(folder).manifest
    assert manifest["precision"] == "mixed"
    exact = read_export(export).manifest["verification"][0]["relative_difference"]
    measured = manifest["verification"][0]["relative_difference"]
    assert 10 * exact["output"] < measured["output"] < manifest["tolerances"]["output"]


def test_half_precision_does_not_overflow_over_many_voxels():
    """With flat weights, a product over 131,072 voxels would be 4 times half's largest number."""
    torch.manual_seed(0)
    attention = Attention(8)
    with torch.no_grad():
        attention.to_qkv.weight.mul_(0.01)
    x = torch.randn(1, 8, 32, 64, 64) + 2
    wanted = PlainAttention(attention)(x)
    for between, given in ((False, x), (True, x.half())):
        plain = torch.nn.Sequential(PlainAttention(attention))
        in_half(plain, between=between)
        got = plain(given)
        assert got.dtype == given.dtype
        assert relative_difference(got, wanted) < 2e-3


def running_sums_in_half(a, b):
    """A matrix product as an engine with half accumulators may do it: 16 terms at once, then added
    to a running sum in half precision."""
    if a.dtype != torch.float16 or a.shape[-1] <= 16:
        return torch.matmul(a, b)
    terms = a.float().unflatten(-1, (-1, 16)).movedim(-2, -3)
    exact = torch.matmul(terms, b.float().unflatten(-2, (-1, 16)))
    total = torch.zeros(()).half()
    for part in exact.unbind(-3):
        total = (total.float() + part).half()
    return total


@pytest.mark.slow
def test_half_accumulators_do_not_spoil_sums_over_all_voxels(monkeypatch):
    """Over 524,288 voxels one running sum would be wrong by a half."""
    torch.manual_seed(0)
    attention = Attention(2)
    x = torch.randn(1, 2, 32, 128, 128) + 1
    plain = PlainAttention(attention)
    voxels = x.reshape(1, 2, -1)
    wanted = plain._s(voxels)
    plain.operands = torch.float16
    products = SimpleNamespace(**(vars(torch) | {"matmul": running_sums_in_half}))
    monkeypatch.setattr("mri2pet.export.plain.torch", products)
    assert relative_difference(plain._s_of_halves(voxels.half()), wanted) < 2e-3
    monkeypatch.setattr("mri2pet.export.plain.MOST_IN_HALF", 524_288)
    assert relative_difference(plain._s_of_halves(voxels.half()), wanted) > 0.1
