"""Builds `mri2pet_sample` with g++: a stand-in for TensorRT, and the CUDA kernels on the CPU."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "cpp"
OPTIONS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]


def example_sources(repository: Path) -> list[Path]:
    """What CMakeLists.txt compiles."""
    return [
        *sorted(EXAMPLE.glob("*.cpp")),
        *sorted(EXAMPLE.glob("*.cu")),
        repository / "csrc" / "check.cpp",
        repository / "csrc" / "cuda" / "sampler_step.cu",
    ]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The program, with the stand-in engines in it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the example with")
    folder = tmp_path_factory.mktemp("cpp")
    emulation = repository / "tests" / "cuda_emulation"
    sources = [
        *example_sources(repository),
        emulation / "cuda_emulation.cpp",
        emulation / "streams.cpp",
        HERE / "tensorrt" / "fake_nvinfer.cpp",
    ]
    includes = [HERE / "tensorrt", emulation / "include", repository / "csrc" / "include"]
    objects = []
    for source in sources:
        objects.append(str(folder / f"{source.name}.o"))
        command = [compiler, *OPTIONS, *(f"-I{path}" for path in includes)]
        command += ["-x", "c++", "-c", str(source), "-o", objects[-1]]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"
    subprocess.run([compiler, *objects, "-o", str(folder / "mri2pet_sample")], check=True)
    return folder / "mri2pet_sample"


def script(name: str) -> ModuleType:
    """A Python script of the example, as a module."""
    spec = importlib.util.spec_from_file_location(f"cpp_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def prepare() -> ModuleType:
    return script("prepare")


@pytest.fixture(scope="session")
def finish() -> ModuleType:
    return script("finish")
