"""Plans are built once, tested before they are used, and refused when anything is not as built.

TensorRT is a recording stand-in that computes with ONNX Runtime; device memory is the host's.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from mri2pet.diffusion.graphed_loop import Loops
from mri2pet.engines import load_engine, tensorrt_engine, tensorrt_plans
from mri2pet.engines.exported import MANIFEST, write_manifest
from mri2pet.engines.sampling import sample
from mri2pet.engines.tensorrt_engine import TensorRtEngine
from mri2pet.errors import ModelError, UsageError
from mri2pet.export import verify

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHAPE = (16, 32, 32)
GPU = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def model(small_concat_model):
    return small_concat_model


@pytest.fixture
def folder(small_export, tmp_path):
    return shutil.copytree(small_export, tmp_path / "export")


@pytest.fixture
def machine(fake, monkeypatch):
    """A machine with a GPU and TensorRT, both stood in for; its self-tests are short."""
    monkeypatch.setattr(verify, "TIMES", (1, 999))
    monkeypatch.setattr(verify, "SAMPLING_STEPS", 2)
    card = SimpleNamespace(name=GPU, major=9, minor=0)
    stream = SimpleNamespace(cuda_stream=7, wait_stream=lambda other: None)

    @contextmanager
    def context(what):
        yield

    replaced = {
        "is_available": lambda: True,
        "get_device_properties": lambda device: card,
        "mem_get_info": lambda device: (1 << 30, 1 << 31),
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "is_current_stream_capturing": lambda: False,
        "stream": context,
        "device": context,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(tensorrt_engine, "Loops", lambda: Loops(replaying))
    return SimpleNamespace(tensorrt=fake, card=card)


def replaying(run, device):
    """A capture as CUDA makes it: it warms up, and the work is done at each replay alone."""
    run()
    return run


def build(model, folder):
    from mri2pet.export import export_tensorrt

    return export_tensorrt(model, folder, batch=2, device="cpu")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the first folder with plans is kept."""
    return tmp_path_factory.mktemp("plans") / "export"


@pytest.fixture
def built(machine, model, folder, kept):
    """The folder with its plans, which are built once for all tests."""
    if not kept.exists():
        build(model, folder)
        shutil.copytree(folder, kept)
    return shutil.copytree(kept, folder, dirs_exist_ok=True)


def manifest_of(folder):
    return json.loads((folder / MANIFEST).read_text())


def test_same_seed_same_volumes(machine, model, built):
    """For two people, the second one by what was captured for the first."""
    engine = TensorRtEngine(built, "cpu")
    for person in (1, 2):
        mri = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(person))
        options = {"samples": 3, "steps": 3, "seed": 4, "subject": person, "batch": 8}
        got, wanted = (sample(which, mri, **options) for which in (engine, model))
        assert (got - wanted).norm() / wanted.norm() < 1e-4
    loops = engine.loops.made
    assert [key[1][0] for key in loops] == [2, 1]  # volumes a call
    assert all(loop.works for loop in loops.values())


def test_what_is_built_is_not_built_again(machine, model, folder):
    build(model, folder)
    first = manifest_of(folder)
    assert machine.tensorrt.calls.count("build_serialized_network") == 2
    assert [entry["engine"] for entry in first["verification"]][-1] == "tensorrt 10.13.3.9"
    build(model, folder)
    assert machine.tensorrt.calls.count("build_serialized_network") == 2
    assert manifest_of(folder) == first


def test_the_timing_cache_of_an_earlier_build_is_used(machine, model, built):
    (cache,) = built.rglob("timing.cache")
    assert cache.read_bytes() == b"tt"  # each build adds a letter
    cache.write_bytes(b"changed")
    next(built.rglob("denoiser.plan")).unlink()
    build(model, built)
    assert cache.read_bytes() == b"t"


@pytest.mark.slow
def test_one_folder_serves_several_gpus(machine, model, folder):
    build(model, folder)
    machine.card.name = "NVIDIA A100-SXM4-80GB"
    machine.card.major = 8
    with pytest.raises(ModelError, match=r"no TensorRT plan for NVIDIA A100.*only for NVIDIA H100"):
        TensorRtEngine(folder, "cpu")
    build(model, folder)
    TensorRtEngine(folder, "cpu")
    machine.card.name, machine.card.major = GPU, 9
    TensorRtEngine(folder, "cpu")
    assert len(list(folder.rglob("*.plan"))) == 4


def test_a_plan_of_another_version_is_refused(machine, built):
    machine.tensorrt.__version__ = "11.4.0"
    with pytest.raises(ModelError, match=r"with TensorRT 11\.4\.0, only for .* TensorRT 10\.13"):
        TensorRtEngine(built, "cpu")


def test_plans_without_a_self_test_are_refused(machine, model, built):
    manifest = manifest_of(built)
    tested = manifest["verification"]
    manifest["verification"] = tested[:-1]
    write_manifest(built, manifest)
    with pytest.raises(ModelError, match="have not passed a self-test"):
        TensorRtEngine(built, "cpu")
    for change in ({"passed": False}, {"device": "another GPU"}, {"plans": ["0", "1"]}):
        manifest["verification"] = [tested[-1] | change]
        write_manifest(built, manifest)
        with pytest.raises(ModelError, match="have not passed a self-test"):
            TensorRtEngine(built, "cpu")
    build(model, built)  # tests what is built already
    TensorRtEngine(built, "cpu")


@pytest.mark.slow
def test_another_driver_asks_for_another_self_test(machine, model, folder, monkeypatch, tmp_path):
    driver = tmp_path / "version"
    driver.write_text("580.65.06\n")
    monkeypatch.setattr(tensorrt_plans, "DRIVER", driver)
    build(model, folder)
    assert manifest_of(folder)["verification"][-1]["driver"] == "580.65.06"
    for number, (what, value) in enumerate([(driver, "590.10"), ("cuda", "13.2")]):
        if what == driver:
            driver.write_text(value)
        else:
            monkeypatch.setattr(torch.version, what, value)
        with pytest.raises(ModelError, match="have not passed a self-test"):
            TensorRtEngine(folder, "cpu")
        build(model, folder)  # tests what is built already
        TensorRtEngine(folder, "cpu")
        tested = [e for e in manifest_of(folder)["verification"] if "plans" in e]
        assert len(tested) == number + 2
    assert machine.tensorrt.calls.count("build_serialized_network") == 2


@pytest.mark.parametrize("change", ["flipped", "cut", "missing"])
def test_a_plan_that_is_not_the_built_one_is_never_loaded(machine, built, change):
    plan = next(built.rglob("denoiser.plan"))
    content = plan.read_bytes()
    if change == "missing":
        plan.unlink()
    else:
        plan.write_bytes(content[:99] if change == "cut" else content[:-1] + b"\0")
    loads = machine.tensorrt.calls.count("deserialize_cuda_engine")
    with pytest.raises(ModelError, match=r"denoiser\.plan"):
        TensorRtEngine(built, "cpu")
    assert machine.tensorrt.calls.count("deserialize_cuda_engine") == loads


def test_a_plan_that_computes_another_norm_fails_its_self_test(
    machine, model, folder, norms_per_channel
):
    machine.tensorrt.on_parse = norms_per_channel
    with pytest.raises(ModelError, match="tensorrt does not compute what torch computes"):
        build(model, folder)
    assert manifest_of(folder)["verification"][-1]["passed"] is False
    with pytest.raises(ModelError, match="have not passed a self-test"):
        TensorRtEngine(folder, "cpu")


def test_a_failing_evaluation_is_told(machine, built):
    engine = TensorRtEngine(built, "cpu")
    machine.tensorrt.failures["execute_async_v3"] = False
    with pytest.raises(ModelError, match="execute_async_v3 failed"):
        engine.condition(torch.rand(1, 1, *SHAPE), torch.tensor([5]))


@pytest.mark.usefixtures("graphs_of_small_export")
def test_a_new_export_forgets_old_plans(machine, model, built, monkeypatch):
    from mri2pet.export import export_onnx

    assert manifest_of(built)["plans"]
    with monkeypatch.context() as without_gpu:
        without_gpu.setattr(torch.cuda, "is_available", lambda: False)
        export_onnx(model, built, batch=2)
    assert not list(built.rglob("*.plan"))
    with pytest.raises(ModelError, match="no TensorRT plan"):
        TensorRtEngine(built, "cpu")
    assert "plans" not in manifest_of(built)
    assert len(manifest_of(built)["verification"]) == 1


def test_without_tensorrt_or_gpu_one_sentence_says_what_to_do(model, folder, fake, monkeypatch):
    from mri2pet.export import export_tensorrt

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UsageError, match=r"not installed; install it with .*mri2pet\[gpu\]"):
        export_tensorrt(model, folder)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
        export_tensorrt(model, folder)
    with pytest.raises(UsageError, match="--device cuda"):
        load_engine(folder, engine="tensorrt", device="cpu")
    with pytest.raises(ModelError, match="--format tensorrt"):
        load_engine("demo", engine="tensorrt")
