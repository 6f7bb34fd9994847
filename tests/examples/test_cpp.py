"""The C++ program against the sampling loop in Python, with the same simple network in both."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import alpha_bar
from mri2pet.nn.time_embedding import time_embedding

pytestmark = pytest.mark.slow  # the program is built first

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "cpp"
BATCH, SAMPLES, SEED, SUBJECT = 2, 3, 2**32 - 5, 2**64 - 77
PET, MRI, WIDTH, BIASES = (3, 5, 7), (4, 6, 5), 256, 19
MEAN, STD = 1.25, 0.3


@dataclass
class Case:
    """Folders of one run, and what the loop in Python gives for it."""

    plans: Path
    inputs: Path
    out: Path
    expected: np.ndarray

    def run(self, program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [program, self.plans, self.inputs, self.out]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}
        )

    def fails(self, program: Path, words: str, **environment: str) -> None:
        """The program ends with 1, says why in one line, and writes nothing."""
        done = self.run(program, **environment)
        assert done.returncode == 1, done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert not list(self.out.parent.glob(self.out.name + "*"))


def plan(kind: str, **tensors: tuple[int, ...]) -> bytes:
    """A plan of the stand-in."""
    words = [f"{name} {len(shape)} {' '.join(map(str, shape))}" for name, shape in tensors.items()]
    return " ".join([kind, *words]).encode()


def root(table) -> torch.Tensor:
    """What the first x_t holds of an image."""
    return alpha_bar()[table.timesteps[0]].sqrt()


def python_loop(arrays, table) -> np.ndarray:
    """SUVR [SAMPLES, K, I, J] by `run_table` with the stand-in's functions."""
    mri, guide = arrays["mri"], arrays["guide"]
    j = torch.arange(WIDTH)
    flat = mri.flatten()
    embedding = flat.mean() * (j + 1) / WIDTH + flat[j % len(flat)]
    activated = F.silu(embedding + arrays["time_embeddings"])
    rows = activated @ arrays["bias_weight"].T + arrays["bias_bias"]
    weights = (torch.arange(BIASES) % 7 - 3) / 70

    def denoiser(x, row):
        seen = 0 if guide is None else 0.1 * guide
        return 0.3 * x + (row @ weights).view(-1, 1, 1, 1, 1) + seen

    volumes = run_table(
        denoiser,
        table,
        rows[:, None].expand(-1, SAMPLES, -1),
        PET,
        seed=SEED,
        subjects=torch.full((SAMPLES,), SUBJECT - 2**64),
        samples=torch.arange(SAMPLES),
        expected=arrays["start"] / root(table),
    )
    return (volumes[:, 0] * STD + MEAN).numpy()


@pytest.fixture
def make_case(tmp_path, prepare):
    def make(sampler: str = "dpmpp", steps: int = 6, concat: bool = True) -> Case:
        generator = torch.Generator().manual_seed(5)
        table = make_table(sampler, "v", steps)

        def random(*shape):
            return torch.randn(shape, generator=generator)

        arrays = {
            "mri": random(1, 1, *MRI),
            "guide": random(1, 1, *PET) if concat else None,
            "start": random(1, 1, *PET),
            "time_embeddings": time_embedding(table.timesteps),
            "bias_weight": random(BIASES, WIDTH) / 16,
            "bias_bias": random(len(table.timesteps), BIASES),
            "coefficients": table.coefficients,
            "timesteps": table.timesteps,
        }
        volume = (BATCH, 1, *PET)
        tensors = {"x_t": volume, "block_biases": (BATCH, BIASES)}
        tensors |= {"guide": volume} if concat else {}
        plans = {
            "encoder.plan": plan("encoder", mri=(1, 1, *MRI), embedding=(1, WIDTH)),
            "denoiser.plan": plan("denoiser", **tensors, output=volume),
        }
        case = Case(tmp_path / "plans", tmp_path / "inputs", tmp_path / "suvr.npy",
                    python_loop(arrays, table))  # fmt: skip
        case.plans.mkdir()
        for name, content in plans.items():
            (case.plans / name).write_bytes(content)
        hashes = [hashlib.sha256(content).hexdigest() for content in plans.values()]
        settings = {
            "format": 3, "samples": SAMPLES, "seed": SEED, "subject": SUBJECT, "noise_step": 1000,
            "pet_mean": MEAN, "pet_std": STD, "gpu": "Emulated GPU",
            "encoder_sha256": hashes[0], "denoiser_sha256": hashes[1],
        }  # fmt: skip
        numpy = {name: None if a is None else a.numpy() for name, a in arrays.items()}
        prepare.write_inputs(case.inputs, numpy, settings, "{}")
        return case

    return make


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize(("sampler", "steps"), [("dpmpp", 6), ("ddpm", 5), ("ddim", 1)])
def test_volumes_are_those_of_the_loop_in_python(program, make_case, sampler, steps, concat):
    case = make_case(sampler, steps, concat)
    done = case.run(program)
    assert done.returncode == 0, done.stderr
    suvr = np.load(case.out)
    assert suvr.dtype == np.float32
    assert suvr.shape == (SAMPLES, *PET)
    np.testing.assert_allclose(suvr, case.expected, rtol=1e-5, atol=1e-5)
    assert len({sample.tobytes() for sample in suvr}) == SAMPLES


TENSORRT_CALLS = [
    "createInferRuntime", "deserializeCudaEngine", "deserializeCudaEngine:2",
    "createExecutionContext", "getNbIOTensors", "getIOTensorName", "getTensorShape",
    "getTensorDataType", "setTensorAddress", "setTensorAddress:3", "inferShapes", "enqueueV3",
    "enqueueV3:2", "enqueueV3:3",
]  # fmt: skip
CUDA_CALLS = [
    "cudaSetDevice", "cudaGetDeviceProperties", "cudaStreamCreateWithFlags", "cudaMalloc",
    "cudaMalloc:7", "cudaMemsetAsync", "cudaMemcpyAsync", "cudaStreamSynchronize",
    "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphGetNodes",
    "cudaGraphInstantiateWithFlags", "cudaGraphLaunch", "cudaGraphLaunch:3",
]  # fmt: skip


@pytest.mark.parametrize("call", [*TENSORRT_CALLS, *CUDA_CALLS])
def test_a_call_that_fails_is_named(program, make_case, call):
    make_case().fails(program, call.split(":")[0], CUDA_EMULATION_FAIL=call)


@pytest.mark.parametrize("lost", ["all", "0", "1", "2", "3"])
def test_a_graph_that_lost_work_is_noticed(program, make_case, lost):
    """The nodes: gather the row, evaluate, update, advance."""
    words = "empty" if lost == "all" else "the CUDA graph"
    make_case().fails(program, words, CUDA_EMULATION_LOSE=lost)


@pytest.mark.parametrize("name", ["encoder.plan", "denoiser.plan"])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b" ", None])
def test_a_plan_that_is_cut_changed_or_missing_is_refused(program, make_case, name, change):
    case = make_case()
    path = case.plans / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    case.fails(program, f"{name}: {'cannot be opened' if change is None else 'not the plan'}")


@pytest.mark.parametrize("length", [0, 1, 55, 56, 63, 64, 65, 119, 200])
def test_hashes_of_plans_of_every_length_are_right(program, make_case, length):
    """The hash passes and the plan's text is refused by the engine."""
    case = make_case()
    content = bytes(i * 7 % 256 for i in range(length))
    (case.plans / "encoder.plan").write_bytes(content)
    change(case, "encoder_sha256", hashlib.sha256(content).hexdigest())
    case.fails(program, "deserializeCudaEngine")


def change(case: Case, name: str, value: object) -> None:
    path = case.inputs / "settings.txt"
    lines = [line for line in path.read_text().splitlines() if line.split()[0] != name]
    path.write_text("\n".join([*lines, f"{name} {value}" if value is not None else ""]) + "\n")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("format", 1, "prepare the inputs again"),
        ("seed", None, "names no seed"),
        ("seed", 2**32, "seed"),
        ("samples", 0, "samples"),
        ("pet_std", "wide", "pet_std is not a number"),
        ("gpu", "Another GPU", "this GPU is a Emulated GPU"),
        ("noise_step", 500, "outside of the diffusion"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(program, make_case, name, value, words):
    case = make_case()
    change(case, name, value)
    case.fails(program, words)


ARRAYS = {
    "mri": (1, 1, 4, 6, 6), "time_embeddings": (6, 255), "bias_weight": (BIASES + 1, WIDTH),
    "bias_bias": (6, BIASES - 1), "coefficients": (5, 6), "timesteps": (7,),
    "guide": (1, 1, 3, 5, 8), "start": (1, 1, 3, 5, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("fault", ["cut", "header", "type", "shape", "order", "text", "missing"])
def test_arrays_that_cannot_be_used_are_refused(program, make_case, name, fault):
    case = make_case()
    path = case.inputs / f"{name}.npy"
    array, content = np.load(path), path.read_bytes()
    if fault == "shape":
        np.save(path, np.zeros(ARRAYS[name], array.dtype))
    elif fault == "order":
        path.write_bytes(content.replace(b"'fortran_order': False", b"'fortran_order': True "))
    elif fault == "type":
        np.save(path, array.astype(np.int32))
    elif fault == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-1], "header": content[:60], "text": b"none"}[fault])
    words = {"guide": "guide", "start": "start" if fault != "shape" else "another size"}.get(
        name, ".npy"
    )
    case.fails(program, words)


def test_cmake_says_why_nothing_is_built(tmp_path):
    done = configure(tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mri2pet_sample is not built: NvInfer.h was not found" in done.stdout


def configure(build: Path, tensorrt: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    command = ["cmake", "-S", EXAMPLE, "-B", build, f"-DTENSORRT_ROOT={tensorrt}"]
    environment = {name: v for name, v in os.environ.items() if name != "TENSORRT_ROOT"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_cmake_builds_it_with_the_cuda_compiler(tmp_path):
    """With nvcc, its headers and an empty library in TensorRT's place."""
    if shutil.which("nvcc") is None or shutil.which("g++") is None:
        pytest.skip("no nvcc and g++ to compile the example with")
    root = tmp_path / "tensorrt"
    (root / "include").mkdir(parents=True)
    (root / "lib").mkdir()
    shutil.copy(HERE / "tensorrt" / "NvInfer.h", root / "include")
    stub = 'extern "C" void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }'
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", root / "lib" / "libnvinfer.so"]
    subprocess.run(command, input=stub, text=True, check=True)
    configured = configure(tmp_path / "build", root)
    assert "mri2pet_sample is built with" in configured.stdout, configured.stdout
    built = subprocess.run(["cmake", "--build", tmp_path / "build"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    done = subprocess.run([tmp_path / "build" / "mri2pet_sample"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_the_command_line_is_explained(program):
    done = subprocess.run([program, "a", "b"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "PLANS INPUTS OUTPUT.npy" in done.stderr


def test_an_output_that_cannot_be_written_is_named(program, make_case, tmp_path):
    case = make_case()
    case.out = tmp_path / "no folder" / "suvr.npy"
    case.fails(program, "suvr.npy: cannot be written")
