"""Fixtures of the whole test suite."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mri2pet.checkpoint import Model

REPOSITORY = Path(__file__).resolve().parents[1]
# What reads scans. A machine with a GPU, torch and little else runs all other tests.
WITH_NIBABEL = (
    "cohort",
    "dicom",
    "examples/test_cpp_scripts.py",
    "export/test_embedding.py",
    "export/test_triton_client.py",
    "imaging",
    "quantification",
    "report/test_planes.py",
    "synthesis",
    "training/test_run.py",
)
collect_ignore = list(WITH_NIBABEL) if find_spec("nibabel") is None else []


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test the checkout when the installed wheel was asked for."""
    if os.environ.get("MRI2PET_TEST_INSTALLED") != "1":
        return
    import mri2pet

    location = Path(mri2pet.__file__).resolve()
    if (REPOSITORY / "python") in location.parents:
        raise pytest.UsageError(
            f"the tests would import the checkout ({location}), not the installed wheel"
        )


def pytest_report_header() -> str:
    import mri2pet

    left_out = f"; without nibabel, so without {', '.join(WITH_NIBABEL)}" if collect_ignore else ""
    return f"mri2pet {mri2pet.__version__} from {Path(mri2pet.__file__).parent}{left_out}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu`, with a reason, where torch sees no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="torch sees no CUDA device")
        for item in on_gpu:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree that holds these tests."""
    return REPOSITORY


def _shared(part: str) -> Path:
    root = Path(os.environ.get("MRI2PET_SHARED", REPOSITORY.parent / "shared"))
    folder = root / part
    if not folder.is_dir():
        pytest.skip(
            f"no test data in {folder}; set MRI2PET_SHARED to the folder that holds {part}/"
        )
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans and atlases: t1/, pet/, atlas/, t1_dicom/."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Folder of reference numbers: reference_small.npz."""
    return _shared("reference")


@pytest.fixture(scope="session")
def made_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives the file or folder of a name, which a function makes once for all processes of the
    tests: never to be changed."""
    base = tmp_path_factory.getbasetemp()
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    base.mkdir(exist_ok=True)

    def path_of(name: str, make: Callable[[Path], object]) -> Path:
        path, part = base / name, base / f"{name}.part"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                shutil.rmtree(part, ignore_errors=True)  # of an attempt that failed
                make(part)
                part.rename(path)
        return path

    return path_of


@pytest.fixture(scope="session")
def torchvision_models():
    """torchvision.models; beside a torch built for the CPU two operators need a declaration."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL", reason="torchvision needs pillow")
    declarations = []
    for name, signature in (
        ("nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
        ("qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(name + signature)
            declarations.append(library)
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    return models


def _small_model(folder: Path, **options: object) -> Model:
    """A model of 16 x 32 x 32 voxels with random weights, its norms changed from what they begin
    with, its linear denoiser, where it has one, that of random volumes."""
    import torch

    from mri2pet.checkpoint import load_model, save_model
    from mri2pet.config import ModelConfig
    from mri2pet.nn import Network

    torch.manual_seed(3)
    shape = (16, 32, 32)
    network = Network(ModelConfig(mri_shape=shape, pet_shape=shape, **options))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    if network.linear is not None:
        level, own = torch.randn(64, 1), torch.randn(64, 16384)
        mris = 0.5 + 0.1 * level * torch.rand(16384) + 0.02 * torch.randn(64, 16384)
        own += 2 * (torch.arange(64) % 4 == 0)[:, None] * torch.rand(16384)  # which no MRI tells
        network.linear.fit(level * torch.rand(16384) + own, mris)
    return load_model(save_model(folder, network, pet_mean=1.2, pet_std=0.3))


@pytest.fixture(scope="session")
def small_concat_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that sees the MRI as a second channel, and has a linear denoiser."""
    folder = tmp_path_factory.mktemp("models") / "concat"
    return _small_model(folder, prediction="v", cond="concat", linear_components=4)


@pytest.fixture(scope="session")
def small_embedding_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that sees the MRI by its embedding alone."""
    return _small_model(tmp_path_factory.mktemp("models") / "embedding")


@pytest.fixture(scope="session")
def small_export(
    small_concat_model: Model, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """Its export in float32 for two volumes at once: never to be changed, for it takes long."""
    from mri2pet.export import export_onnx

    return made_once("small_export", lambda out: export_onnx(small_concat_model, out, batch=2))


@pytest.fixture
def graphs_of_small_export(
    small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[bytes], bytes]], None]:
    """What is exported from here on takes its graphs from there, for tracing is the slow part.

    Called with a function, it changes them: serialised graph → serialised graph.
    """
    import onnx

    from mri2pet.engines.exported import DENOISER, ENCODER

    def replace(change: Callable[[bytes], bytes]) -> None:
        def graph(module: object, arguments: object, names: list[str], output: str) -> object:
            file = small_export / (ENCODER if names == ["mri"] else DENOISER)
            return onnx.load_from_string(change(file.read_bytes()))

        monkeypatch.setattr("mri2pet.export.to_onnx._graph", graph)

    replace(lambda graph: graph)
    return replace


@pytest.fixture(scope="session")
def norms_per_channel() -> Callable[[bytes], bytes]:
    """Changes a graph, serialised, into one that must not pass."""
    return _norms_per_channel


def _norms_per_channel(graph: bytes) -> bytes:
    """A graph after what TensorRT's parser makes of GroupNormalization: a norm over one group
    becomes one of each channel by itself."""
    import numpy as np
    import onnx

    made = onnx.load_from_string(graph)
    axes = {n.input[1] for n in made.graph.node if n.op_type == "ReduceMean"}
    changed = 0
    for tensor in made.graph.initializer:
        reduced = onnx.numpy_helper.to_array(tensor).tolist() if tensor.name in axes else []
        if 1 in reduced:
            kept = np.array([axis for axis in reduced if axis != 1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(kept, tensor.name))
            changed += 1
    for value in list(made.graph.value_info):  # their shapes are others now
        made.graph.value_info.remove(value)
    assert changed or "mri" in {value.name for value in made.graph.input}, "no norm to change"
    return made.SerializeToString()
