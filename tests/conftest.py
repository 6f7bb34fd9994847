"""Fixtures of the whole test suite."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# What reads scans. A machine with a GPU, torch and little else runs all other tests.
WITH_NIBABEL = (
    "cohort",
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
