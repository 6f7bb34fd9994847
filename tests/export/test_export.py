"""An export computes what the model computes, and nothing that is broken is used."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from mri2pet.checkpoint import Model, load_model
from mri2pet.engines import load_engine, onnxruntime_engine
from mri2pet.engines.exported import (
    BIASES,
    DENOISER,
    ENCODER,
    MANIFEST,
    read_export,
    write_manifest,
)
from mri2pet.engines.onnxruntime_engine import OnnxRuntimeEngine
from mri2pet.engines.sampling import sample, sample_subjects
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.errors import ModelError, UsageError
from mri2pet.export import export_onnx, verify_export
from mri2pet.export.plain import plain_network
from mri2pet.export.policy import KERNELS, OPSET, check_policy
from mri2pet.export.verify import compare, relative_difference

onnx = pytest.importorskip("onnx")

SHAPE = (16, 32, 32)


@pytest.fixture(scope="module")
def mri():
    return torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_plain_network_is_the_network(model, mri):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 1, *SHAPE, generator=generator) * 3 + 1
    t = torch.tensor([3, 900])
    with torch.inference_mode():
        wanted = model.network(x, t, mri.expand(2, -1, -1, -1, -1))
        got = plain_network(model.network)(x, t, mri.expand(2, -1, -1, -1, -1))
    assert relative_difference(got, wanted) < 1e-5


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp"])
def test_same_seed_same_volumes(model, export, mri, sampler):
    """Three samples through a graph of batch 2: the last call is filled up."""
    options = {"samples": 3, "steps": 8, "sampler": sampler, "seed": 4, "subject": 77}
    wanted = sample(model, mri, batch=1, **options)
    got = sample(OnnxRuntimeEngine(export), mri, batch=8, **options)
    assert got.shape == (3, 1, *SHAPE)
    assert relative_difference(got, wanted) < 1e-4
    assert relative_difference(got[:1], wanted[1:2]) > 1e-2


def test_subjects_share_batches(model, export):
    mris = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(3))
    options = {"samples": 1, "steps": 3, "batch": 2}
    got = sample_subjects(OnnxRuntimeEngine(export), mris, [5, 6], **options)
    assert relative_difference(got, sample_subjects(model, mris, [5, 6], **options)) < 1e-4


@pytest.mark.slow
def test_a_model_that_sees_the_mri_by_its_embedding_alone(embedding_model, tmp_path, mri):
    folder = export_onnx(embedding_model, tmp_path / "export")
    names = [value.name for value in onnx.load(folder / DENOISER).graph.input]
    assert names == ["x_t", "block_biases"]
    assert read_export(folder).manifest["verification"][0]["passed"]


@pytest.mark.slow
def test_half_precision_keeps_norms_and_sums_in_float32(model, tmp_path):
    folder = export_onnx(model, tmp_path / "half", precision="fp16")
    manifest = read_export(folder).manifest
    assert 1e-5 < manifest["verification"][0]["relative_difference"]["output"] < 1e-2
    graph = onnx.load(folder / DENOISER)
    check_policy(graph)
    weights = {t.name: t.data_type for t in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert {weights[node.input[1]] for node in convolutions} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("name", [DENOISER, ENCODER])
def test_every_file_follows_the_policy(export, name):
    check_policy(onnx.load(export / name))


def _group_norm(graph):
    node = next(n for n in graph.graph.node if n.op_type == "Sqrt")
    node.op_type = "GroupNormalization"


def _dynamic(graph):
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _newer(graph):
    graph.opset_import[0].version = 21


@pytest.mark.parametrize(
    ("change", "message"),
    [(_group_norm, "GroupNormalization"), (_dynamic, "dynamic"), (_newer, "opset")],
)
def test_policy_refuses(export, change, message):
    graph = onnx.load(export / DENOISER)
    change(graph)
    with pytest.raises(ModelError, match=message):
        check_policy(graph)


def test_policy_refuses_sums_in_half_precision():
    half = onnx.TensorProto.FLOAT16
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], name="mean", keepdims=0)
    values = [
        onnx.helper.make_tensor_value_info("x", half, [1, 8]),
        onnx.helper.make_tensor_value_info("y", half, []),
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opset = onnx.helper.make_opsetid("", OPSET)
    with pytest.raises(ModelError, match="half precision"):
        check_policy(onnx.helper.make_model(graph, opset_imports=[opset]))


def test_a_norm_per_channel_does_not_pass_the_comparison(
    model, tmp_path, graphs_of_small_export, norms_per_channel
):
    """What TensorRT's parser makes of GroupNormalization must not get through."""
    graphs_of_small_export(norms_per_channel)
    with pytest.raises(ModelError, match="does not compute what torch computes"):
        export_onnx(model, tmp_path / "wrong", batch=2)
    assert not (tmp_path / "wrong" / MANIFEST).exists()


def test_another_model_is_refused(export, embedding_model):
    with pytest.raises(ModelError, match="another model"):
        verify_export(export, embedding_model)


@pytest.fixture
def copy(export, tmp_path):
    return shutil.copytree(export, tmp_path / "copy")


def test_verifying_again_adds_an_entry(copy, model):
    verify_export(copy, model)
    assert [v["passed"] for v in read_export(copy).manifest["verification"]] == [True, True]


def test_changed_files_are_refused(copy):
    content = (copy / DENOISER).read_bytes()
    (copy / DENOISER).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="hash differs"):
        load_engine(copy)
    (copy / DENOISER).write_bytes(content[:1000])
    with pytest.raises(ModelError, match="hash differs"):
        load_engine(copy)
    (copy / DENOISER).unlink()
    with pytest.raises(ModelError, match="No such file"):
        load_engine(copy)


@pytest.mark.parametrize("change", [{"format": 9}, {"model": {}}, {"files": {}}, {"batch": "x"}])
def test_a_manifest_that_makes_no_sense_is_refused(copy, change):
    manifest = json.loads((copy / MANIFEST).read_text()) | change
    write_manifest(copy, manifest)
    with pytest.raises(ModelError):
        read_export(copy)


def test_an_export_of_an_older_form_is_refused_by_its_number(copy):
    """Format 3 held one normal distribution a direction, and arrays of other names."""
    write_manifest(copy, json.loads((copy / MANIFEST).read_text()) | {"format": 3})
    with pytest.raises(ModelError, match=r"format 3 is not format 4; export the model again"):
        load_engine(copy)


def test_the_export_holds_a_mixture(export, model):
    """Each normal's coefficients behind the 360 of the U-Net; one that is no copy of another."""
    linear = model.diffusion.linear
    assert not torch.equal(linear.mixture[0, 0], linear.mixture[0, 1])
    table = safetensors.torch.load_file(export / BIASES)["linear"]
    assert torch.equal(table, linear.table)
    assert table.shape == (1000, 2 + 8 * 4 * 2)


def test_engine_and_model_must_fit(export, model):
    assert load_engine(export).engine == "onnxruntime"
    assert load_engine(model).engine == "torch"
    with pytest.raises(ModelError, match="takes an export"):
        load_engine("demo", engine="onnxruntime")
    with pytest.raises(ModelError, match="an export"):
        load_engine(export, engine="torch")
    with pytest.raises(ModelError, match="loaded model"):
        load_engine(model, engine="onnxruntime")


@pytest.mark.parametrize(("option", "value"), [("precision", "int8"), ("batch", 0)])
def test_senseless_options_are_refused(model, tmp_path, option, value):
    with pytest.raises(UsageError, match=f"--{option}"):
        export_onnx(model, tmp_path / "export", **{option: value})
    assert not (tmp_path / "export").exists()


def test_a_folder_with_other_files_is_not_touched(model, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not a folder of an export"):
        export_onnx(model, tmp_path)


def test_missing_packages_are_named(model, export, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"mri2pet\[onnx\]"):
        export_onnx(model, tmp_path / "export")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"mri2pet\[onnx\]"):
        OnnxRuntimeEngine(export)


def test_more_volumes_than_the_graph_takes_are_refused(export, mri):
    conditioned = OnnxRuntimeEngine(export).condition(mri, torch.tensor([5]))
    with pytest.raises(UsageError, match="takes 2"):
        conditioned.denoise(torch.zeros(3, 1, *SHAPE), conditioned.bias_rows.expand(3, -1))


@pytest.fixture
def saved(model, tmp_path):
    from mri2pet.checkpoint import save_model

    assert isinstance(model, Model)
    return save_model(tmp_path / "model", model.network, pet_mean=1.0, pet_std=0.5)


@pytest.mark.usefixtures("graphs_of_small_export")
def test_command(saved, tmp_path, capsys):
    from mri2pet.cli.main import main

    out = tmp_path / "export"
    assert main(["export", str(saved), "-o", str(out), "--batch", "2"]) == 0
    assert "relative difference" in capsys.readouterr().out
    assert main(["export", "verify", str(out), "--model", str(saved)]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    assert len(read_export(out).manifest["verification"]) == 2


@pytest.mark.parametrize("source", ["export", "model"])
def test_command_for_triton(export, saved, tmp_path, capsys, monkeypatch, source):
    from mri2pet.cli.main import main

    def written(model, folder, *, precision, batch):
        assert (model.sha256, precision, batch) == (load_model(saved).sha256, "fp16", 2)
        return shutil.copytree(export, folder)

    monkeypatch.setattr("mri2pet.export.export_onnx", written)
    given = {"export": [str(export)], "model": [str(saved), "--precision", "fp16", "--batch", "2"]}
    repository = tmp_path / "models"
    assert main(["export", *given[source], "-o", str(repository), "--format", "triton"]) == 0
    config = (repository / "mri2pet" / "config.pbtxt").read_text()
    assert "KIND_CPU" in config
    assert "model: mri2pet" in capsys.readouterr().out
    assert read_export(repository / "mri2pet" / "1" / "export").batch == 2


def test_the_command_tells_what_is_wrong(saved, export, tmp_path, capsys, monkeypatch):
    import sys

    from mri2pet.cli.main import main

    def refused(*arguments):
        code = main(["export", *map(str, arguments)])
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return code, message

    code, message = refused("verify", export)
    assert code == 2
    assert "--model PATH" in message
    code, message = refused("verify", tmp_path)
    assert code == 1
    assert "no export" in message
    code, message = refused("verify", export, "--model", saved, "--engine", "tpu")
    assert code == 2
    assert "onnxruntime, tensorrt" in message
    code, message = refused(saved, "-o", tmp_path / "out", "--format", "coreml")
    assert code == 2
    assert "onnx, tensorrt, triton" in message
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    code, message = refused(saved, "-o", tmp_path / "out", "--format", "tensorrt")
    assert code == 2
    assert "mri2pet[gpu]" in message
    assert not (tmp_path / "out").exists()


def test_a_cuda_session_falls_back_to_no_graph(export, monkeypatch):
    """The CUDA graph of ONNX Runtime is tried first; what it refuses runs without."""
    import onnxruntime

    tried = []

    def session(path, options, providers, enable_fallback):
        tried.append(providers)
        if len(tried) == 1:
            raise RuntimeError("nodes on the CPU")
        return "session"

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.warns(UserWarning, match="no CUDA graph"):
        made = onnxruntime_engine._session(export / DENOISER, torch.device("cuda:1"))
    assert made == "session"
    place = {"device_id": "1", "use_tf32": "0"}
    assert tried == [
        [("CUDAExecutionProvider", place | {"enable_cuda_graph": "1"})],
        [("CUDAExecutionProvider", place)],
    ]


def test_a_cuda_session_computes_in_float32_and_nothing_on_the_cpu(export, monkeypatch):
    asked, entries = [], []

    class Options:
        def add_session_config_entry(self, key, value):
            entries.append((key, value))

    def session(path, options, providers, enable_fallback):
        assert not enable_fallback  # would print, and try the CPU
        asked.append(providers)
        raise RuntimeError("fallback to CPU EP has been explicitly disabled by the user.")

    runtime = SimpleNamespace(
        SessionOptions=Options,
        InferenceSession=session,
        get_available_providers=lambda: ["CUDAExecutionProvider"],
        __version__="1.20",
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    with pytest.raises(UsageError, match="would compute a part of denoiser"):
        onnxruntime_engine._session(export / DENOISER, torch.device("cuda"))
    assert ("session.disable_cpu_ep_fallback", "1") in entries
    ((name, place),) = asked[0]
    assert name == "CUDAExecutionProvider"
    assert place["use_tf32"] == "0"


def test_the_kernels_that_the_policy_counts_on_are_those_of_its_opset():
    versions = {name: onnx.defs.get_schema(name, OPSET).since_version for name in KERNELS}
    assert versions == KERNELS


def test_every_row_of_a_batch_is_compared(export, model):
    """An engine that computes the first volume of a batch alone must not pass."""

    class FirstAlone(OnnxRuntimeEngine):
        def _denoise(self, inputs):
            output = super()._denoise(inputs)
            output[1:] = output[:1]
            return output

    measured = compare(FirstAlone(export), TorchEngine(model))
    assert min(measured.values()) > 0.1
    assert max(compare(OnnxRuntimeEngine(export), TorchEngine(model)).values()) < 1e-4
