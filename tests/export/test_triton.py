"""A Triton model repository: its configuration, what its model answers, what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mri2pet import WARNING
from mri2pet.engines import load_engine
from mri2pet.engines.exported import DENOISER, MANIFEST, read_export, write_manifest
from mri2pet.engines.mean import mean_of_samples
from mri2pet.engines.sampling import sample
from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.export.to_triton import MAX_SAMPLES, export_triton

pytestmark = pytest.mark.slow  # the exports are made first

SHAPE = (16, 32, 32)


def _loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


triton = _loaded(Path(__file__).with_name("triton_stand_in.py"))


@pytest.fixture(scope="module")
def served(export, tmp_path_factory):
    """The folder of a model that draws 2 samples of 3 steps."""
    repository = tmp_path_factory.mktemp("triton") / "models"
    return export_triton(export, repository, samples=2, steps=3)


@pytest.fixture
def backend(monkeypatch):
    """The stand-in in the place of Triton's module."""
    module = triton.backend_utils()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    return module


def _config(folder):
    return triton.parse_text_proto((folder / "config.pbtxt").read_text())


def _arguments(folder, kind="CPU"):
    """What Triton gives `initialize`: strings, the configuration as JSON."""
    parameters = {
        entry["key"][0]: {"string_value": entry["value"][0]["string_value"][0]}
        for entry in _config(folder)["parameters"]
    }
    return {
        "model_config": json.dumps({"parameters": parameters}),
        "model_instance_kind": kind,
        "model_instance_device_id": "0",
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": folder.name,
    }


def _model(folder):
    return _loaded(folder / "1" / "model.py").TritonPythonModel()


@pytest.fixture
def started(served, backend):
    model = _model(served)
    model.initialize(_arguments(served))
    yield model
    model.finalize()


def _mri(seed=1):
    return np.random.default_rng(seed).random((1, *SHAPE), dtype=np.float32)


def _pet(response):
    assert not response.has_error(), response.error().message()
    samples, mean = response.output_tensors()
    assert (samples.name(), mean.name()) == ("PET", "MEAN")
    return samples.as_numpy()


def _expected(model, mri, samples=2, **options):
    drawn = sample(model, torch.from_numpy(mri)[None], samples=samples, steps=3, **options)
    return drawn[:, 0].numpy() * model.pet_std + model.pet_mean


def test_configuration(served):
    config = _config(served)
    assert config["name"] == [served.name] == ["mri2pet"]
    assert config["backend"] == ["python"]
    assert config["max_batch_size"] == [0]
    inputs = {entry.pop("name")[0]: entry for entry in config["input"]}
    assert inputs["MRI"] == {"data_type": ["TYPE_FP32"], "dims": [1, *SHAPE]}
    for name, kind in {"SEED": "UINT32", "SUBJECT": "UINT64", "SAMPLES": "UINT32"}.items():
        optional = {"data_type": [f"TYPE_{kind}"], "dims": [1], "optional": ["true"]}
        assert inputs.pop(name) == optional
    assert list(inputs) == ["MRI"]
    samples, mean = config["output"]
    assert samples == {"name": ["PET"], "data_type": ["TYPE_FP32"], "dims": [-1, *SHAPE]}
    assert mean == {"name": ["MEAN"], "data_type": ["TYPE_FP32"], "dims": [*SHAPE]}
    assert config["instance_group"] == [{"count": [1], "kind": ["KIND_CPU"]}]
    parameters = json.loads(_arguments(served)["model_config"])["parameters"]
    assert parameters["warning"]["string_value"] == WARNING
    manifest = json.loads((served / "1" / "export" / MANIFEST).read_text())
    assert parameters["model_sha256"]["string_value"] == manifest["model_sha256"]


def test_configuration_is_one_for_triton(served):
    """Against Triton's own message type."""
    client = pytest.importorskip("tritonclient")
    text_format = pytest.importorskip("google.protobuf.text_format")
    messages = _loaded(Path(client.__path__[0]) / "grpc" / "model_config_pb2.py")
    config = text_format.Parse((served / "config.pbtxt").read_text(), messages.ModelConfig())
    assert [list(output.dims) for output in config.output] == [[-1, *SHAPE], [*SHAPE]]
    assert config.parameters["steps"].string_value == "3"
    assert [value.optional for value in config.input] == [False, True, True, True]


def test_a_request_gets_what_sample_gives(started, model):
    """The numbers of a request reach the noise; without any, seed and subject are 0."""
    subject = 2**63 + 5
    requests = [
        triton.Request(MRI=_mri()),
        triton.Request(
            MRI=_mri(2),
            SEED=np.array([7], np.uint32),
            SUBJECT=np.array([subject], np.uint64),
            SAMPLES=np.array([3], np.uint32),
        ),
    ]
    responses = started.execute(requests)
    first, second = (_pet(response) for response in responses)
    assert first.dtype == np.float32
    assert first.shape == (2, *SHAPE)
    np.testing.assert_allclose(first, _expected(model, _mri()), rtol=0, atol=1e-3)
    wanted = _expected(model, _mri(2), samples=3, seed=7, subject=subject)
    np.testing.assert_allclose(second, wanted, rtol=0, atol=1e-3)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1
    volumes = torch.from_numpy((wanted - model.pet_mean) / model.pet_std)[None, :, None]
    expected = mean_of_samples(model.engine, torch.from_numpy(_mri(2))[None], volumes)[0, 0]
    mean = responses[1].output_tensors()[1].as_numpy()
    np.testing.assert_allclose(
        mean, expected.numpy() * model.pet_std + model.pet_mean, rtol=0, atol=1e-3
    )
    assert np.abs(mean - wanted.mean(0)).max() > 0.1, "at the level that the model expects"


def _spoilt(value):
    mri = _mri()
    mri[0, 3, 4, 5] = value
    return mri


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"MRI": _mri()[:, :8]}, "shape"),
        ({"MRI": _mri()[0]}, "shape"),
        ({"MRI": _mri().astype(np.float64)}, "float64, not float32"),
        ({"MRI": _spoilt(np.nan)}, "no numbers"),
        ({"MRI": _spoilt(np.inf)}, "no numbers"),
        ({"MRI": 800 * _mri()}, "not from 0 to 1"),
        ({"MRI": _mri() - 0.5}, "not from 0 to 1"),
        ({"MRI": 0 * _mri()}, "0 everywhere"),
        ({}, "missing"),
        ({"MRI": _mri(), "SAMPLES": np.array([0], np.uint32)}, "SAMPLES must lie in"),
        ({"MRI": _mri(), "SAMPLES": np.array([MAX_SAMPLES + 1], np.uint32)}, "SAMPLES must lie in"),
        ({"MRI": _mri(), "SEED": np.array([1, 2], np.uint32)}, "SEED"),
        ({"MRI": _mri(), "SEED": np.array([-1], np.int64)}, "SEED is int64"),
        ({"MRI": _mri(), "SUBJECT": np.array([1.5], np.float32)}, "SUBJECT is float32"),
    ],
)
def test_a_wrong_request_fails_alone(started, arrays, message):
    good = triton.Request(MRI=_mri())
    before, failed, after = started.execute([good, triton.Request(**arrays), good])
    assert failed.error().code() == "INVALID_ARG"
    assert message in failed.error().message()
    assert np.array_equal(_pet(before), _pet(after))
    assert triton.Logger.errors == []


def test_a_failing_engine_fails_the_request_and_not_the_server(started, monkeypatch):
    condition = started.engine.condition

    def broken(mri, timesteps):
        if mri.max() < 0.5:
            raise RuntimeError("the device is gone")
        return condition(mri, timesteps)

    monkeypatch.setattr(started.engine, "condition", broken)
    requests = [triton.Request(MRI=_mri() * 0.4), triton.Request(MRI=_mri())]
    failed, good = started.execute(requests)
    assert failed.error().code() == "INTERNAL"
    assert "the device is gone" in failed.error().message()
    assert "Traceback" in triton.Logger.errors[0]
    assert _pet(good).shape == (2, *SHAPE)


def test_volumes_that_are_no_numbers_are_not_given_out(started, monkeypatch):
    monkeypatch.setattr(type(started.engine), "pet_std", float("nan"))
    (response,) = started.execute([triton.Request(MRI=_mri())])
    assert "no numbers" in response.error().message()


def test_a_cancelled_request_stops(started, model):
    """It is asked after every step: after the second of three it is over."""
    cancelled = triton.Request(cancelled_after=1, MRI=_mri())
    response, after = started.execute([cancelled, triton.Request(MRI=_mri())])
    assert response.error().code() == "CANCELLED"
    assert cancelled.asked == 2
    np.testing.assert_allclose(_pet(after), _expected(model, _mri()), rtol=0, atol=1e-3)


def test_the_model_keeps_no_memory_of_triton(started, monkeypatch):
    """Triton overwrites a request's arrays afterwards."""
    condition, given = started.engine.condition, []

    def kept(mri, timesteps):
        given.append(mri)
        return condition(mri, timesteps)

    monkeypatch.setattr(started.engine, "condition", kept)
    array = _mri()
    array.setflags(write=False)
    _pet(started.execute([triton.Request(MRI=array)])[0])
    assert not np.shares_memory(given[0].numpy(), array)


def _copy(served, tmp_path):
    return shutil.copytree(served, tmp_path / "mri2pet")


def test_a_changed_export_does_not_start(served, backend, tmp_path):
    folder = _copy(served, tmp_path)
    file = folder / "1" / "export" / DENOISER
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(triton.TritonModelException, match="hash differs"):
        _model(folder).initialize(_arguments(folder))


def test_what_does_not_start(served, backend, monkeypatch):
    with pytest.raises(triton.TritonModelException, match="choose KIND_CPU or KIND_GPU"):
        _model(served).initialize(_arguments(served, kind="MODEL"))
    arguments = _arguments(served)
    arguments["model_config"] = json.dumps({"parameters": {"samples": {"string_value": "2"}}})
    with pytest.raises(triton.TritonModelException, match="max_samples"):
        _model(served).initialize(arguments)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(triton.TritonModelException, match="no CUDA device"):
        _model(served).initialize(_arguments(served, kind="GPU"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(triton.TritonModelException, match=r"mri2pet\[onnx\]"):
        _model(served).initialize(_arguments(served))


def test_an_instance_takes_its_threads_and_its_gpu(export, backend, tmp_path, monkeypatch):
    folder = export_triton(export, tmp_path, device="cuda", threads=3, instances=2, name="two")
    assert _config(folder)["instance_group"] == [{"count": [2], "kind": ["KIND_GPU"]}]
    asked = {}

    def load(path, *, engine, device):
        asked.update(path=path, engine=engine, device=device)
        return load_engine(path)

    model = _model(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: asked.update(threads=count))
    monkeypatch.setitem(type(model).initialize.__globals__, "load_engine", load)
    model.initialize(_arguments(folder, kind="GPU") | {"model_instance_device_id": "3"})
    assert asked == {
        "path": folder / "1" / "export",
        "engine": "onnxruntime",
        "device": "cuda:3",
        "threads": 3,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../up"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"samples": 0}, "samples"),
        ({"samples": MAX_SAMPLES + 1}, "samples"),
        ({"steps": 0}, "steps"),
        ({"sampler": "euler"}, "euler"),
        ({"engine": "torch"}, "engine"),
        ({"device": "tpu"}, "device"),
        ({"engine": "tensorrt"}, "needs an NVIDIA GPU"),
        ({"instances": 0}, "instances"),
        ({"threads": -1}, "threads"),
    ],
)
def test_senseless_options_are_refused(export, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export_triton(export, tmp_path / "models", **options)
    assert not (tmp_path / "models").exists()


def test_an_export_without_plans_or_with_no_suvr_is_refused(export, tmp_path):
    with pytest.raises(ModelError, match="no TensorRT plans"):
        export_triton(export, tmp_path / "models", engine="tensorrt", device="cuda")
    with pytest.raises(ModelError, match="no export"):
        export_triton(tmp_path, tmp_path / "models")
    copy = shutil.copytree(export, tmp_path / "pretrained")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["provenance"] = {"config": {"training": {"stage": "pretrain"}}}
    write_manifest(copy, manifest)
    with pytest.raises(ModelError, match="pre-trained"):
        export_triton(copy, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_did_not_come_from_here_is_not_touched(export, tmp_path):
    letter = tmp_path / "mri2pet" / "letter.txt"
    letter.parent.mkdir()
    letter.write_text("dear")
    with pytest.raises(UsageError, match="something else"):
        export_triton(export, tmp_path)
    assert letter.read_text() == "dear"
    assert export_triton(export, tmp_path, name="other").is_dir()
    with pytest.raises(UsageError, match="an export"):
        export_triton(export, export)
    with pytest.raises(UsageError, match="not a folder"):
        export_triton(export, letter)
    (tmp_path / "other" / "1" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        export_triton(export, tmp_path, name="other")


def test_a_model_is_replaced_as_a_whole(export, tmp_path):
    folder = export_triton(export, tmp_path, steps=3)
    left = tmp_path / ".mri2pet.a1b2c3d4.partial"
    left.mkdir()
    assert export_triton(export, tmp_path, steps=4) == folder
    assert [file.name for file in tmp_path.iterdir()] == ["mri2pet"]
    assert '"steps" value { string_value: "4" }' in (folder / "config.pbtxt").read_text()
    assert read_export(folder / "1" / "export").batch == 2


@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_leaves_what_was_there(export, tmp_path, monkeypatch, old):
    if old:
        export_triton(export, tmp_path, steps=3)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mri2pet.export.to_triton.shutil.copyfile", full)
    with pytest.raises(Mri2petError, match="No space left"):
        export_triton(export, tmp_path, steps=4)
    assert [file.name for file in tmp_path.iterdir()] == ["mri2pet"] * old
    if old:
        assert (
            '"steps" value { string_value: "3" }'
            in (tmp_path / "mri2pet" / "config.pbtxt").read_text()
        )


def test_an_export_that_changes_meanwhile_is_not_served(export, tmp_path, monkeypatch):
    copyfile = shutil.copyfile

    def cut(source, target):
        copyfile(source, target)
        if target.name == DENOISER:
            target.write_bytes(target.read_bytes()[:1000])

    monkeypatch.setattr("mri2pet.export.to_triton.shutil.copyfile", cut)
    with pytest.raises(ModelError, match="hash differs"):
        export_triton(export, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_are_quoted(export, tmp_path):
    copy = shutil.copytree(export, tmp_path / "export")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["name"] = 'a "b" \\ é'
    write_manifest(copy, manifest)
    folder = export_triton(copy, tmp_path / "models")
    parameters = json.loads(_arguments(folder)["model_config"])["parameters"]
    assert parameters["model"]["string_value"] == 'a "b" \\ é'
