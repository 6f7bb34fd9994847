"""Builds the CUDA kernels with g++ once a session and calls their launchers through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_bool, c_double, c_int, c_int64, c_void_p
from pathlib import Path

import pytest
import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
LIBRARY = "libmri2pet_cuda_emulation.so"
GUARD = 64  # elements before and behind each tensor; they must stay untouched
SHARED_LIMIT = {"sm_80": 163 * 1024, "sm_86": 99 * 1024, "sm_90": 227 * 1024}


class Strides(ctypes.Structure):
    _fields_ = tuple((name, c_int64) for name in ("batch", "channel", "voxel"))


class Resources(ctypes.Structure):
    _fields_ = (
        ("workspace", c_void_p),
        ("workspace_bytes", c_int64),
        ("threads", c_int),
        ("stream", c_void_p),
    )


def _fields(text: str) -> list[tuple[str, object]]:
    """`kind name name; kind name …` → ctypes fields; a trailing * on a name adds its strides."""
    kinds = {"size": c_int64, "enum": c_int, "flag": c_bool, "real": c_double, "tensor": c_void_p}
    fields: list[tuple[str, object]] = []
    for group in text.split(";"):
        kind, *names = group.split()
        for name in names:
            fields.append((name.rstrip("*"), kinds[kind]))
            if name.endswith("*"):
                fields.append((name.rstrip("*") + "_strides", Strides))
    return [*fields, ("resources", Resources)]


# The structs of csrc/include/mri2pet, field by field.
LAYOUTS = {
    "linear_attention_forward": "size batch channels voxels heads width; enum dtype; tensor x* "
    "w_qkv w_out bias y* row_max row_sum s m",
    "linear_attention_backward": "size batch channels voxels heads width; enum dtype; tensor x* "
    "grad_y* w_qkv w_out row_max row_sum s m grad_x* grad_w_qkv grad_w_out grad_bias",
    "laplacian_pyramid_loss_forward": "size batch slices rows columns; enum output_dtype "
    "target_dtype; tensor output target weight; real laplacian_weight; tensor terms grad",
    "laplacian_pyramid_loss_backward": "size count; enum output_dtype; tensor grad grad_loss "
    "grad_output",
    "group_norm_gelu_forward": "size batch channels voxels; enum dtype; flag gelu; real eps; "
    "tensor x* weight bias residual* channel_bias y* mean rstd",
    "group_norm_gelu_backward": "size batch channels voxels; enum dtype; flag gelu; tensor x* "
    "weight bias residual* channel_bias mean rstd grad_y* grad_x* grad_residual* grad_weight "
    "grad_bias grad_channel_bias",
    "conv3d": "size batch depth height width channels_in channels_out; enum dtype; tensor x x2; "
    "size channels_x2; tensor weight in_parts; size in_part_count; tensor norm_weight norm_bias; "
    "real eps; tensor y parts; enum variant; size planes",
    "apply_norm": "size batch channels voxels; enum dtype; flag gelu; real eps; tensor x parts; "
    "size part_count; tensor weight bias residual residual2; size channels_residual2; "
    "tensor channel_bias y",
    "upsample_concat_forward": "size batch depth height width coarse_depth coarse_height "
    "coarse_width channels_skip channels_x; enum dtype; tensor skip* x* y*",
    "upsample_concat_backward": "size batch depth height width coarse_depth coarse_height "
    "coarse_width channels_skip channels_x; enum dtype; tensor grad_y* grad_x*",
    "sampler_step": "size batch voxels; enum output_dtype; tensor x output previous_x0 new_x x0 "
    "coefficients row timesteps subjects samples; size seed step",
}


class Emulation:
    """The emulated kernels: `run(op, **fields)` with tensors for pointers."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.structs = {
            op: type(op, (ctypes.Structure,), {"_fields_": _fields(layout)})
            for op, layout in LAYOUTS.items()
        }
        for op, struct in self.structs.items():
            assert ctypes.sizeof(struct) == getattr(self.library, f"{op}_size")()
        self.configure()

    def configure(
        self, multiprocessors: int = 3, device: str = "sm_90", reverse: bool = False
    ) -> None:
        """The device that the kernels see, and whether its threads run last to first."""
        self.library.cuda_emulation_configure(multiprocessors, SHARED_LIMIT[device], int(reverse))

    def status(self, op: str, *, workspace: bool = True, **fields: object) -> tuple[int, str]:
        """Runs a launcher; (code, detail). Strides are taken from tensors of 3 dimensions."""
        params = self.structs[op]()
        for name, value in fields.items():
            if isinstance(value, Tensor):
                if hasattr(params, f"{name}_strides"):
                    setattr(params, f"{name}_strides", Strides(*value.stride()))
                value = value.data_ptr()
            elif isinstance(value, torch.dtype):
                value = DTYPES[value]
            setattr(params, name, value)
        scratch = None
        if workspace and hasattr(self.library, f"{op}_workspace"):
            size = getattr(self.library, f"{op}_workspace")
            size.restype = ctypes.c_longlong
            bytes_ = size(ctypes.byref(params))
            scratch = guarded((bytes_ // 4,), torch.float32)
            params.resources.workspace = scratch.data_ptr()
            params.resources.workspace_bytes = bytes_
        detail = ctypes.c_char_p()
        code = getattr(self.library, op)(ctypes.byref(params), ctypes.byref(detail))
        for tensor in (scratch, *fields.values()):
            if isinstance(tensor, Tensor):
                check_guards(tensor)
        return code, (detail.value or b"").decode()

    def conv3d_parts(self, **sizes: int | torch.dtype) -> int:
        """Blocks a sample of conv3d; the pointers do not matter."""
        params = self.structs["conv3d"]()
        given = {"x": 64, "weight": 64, "y": 64, **sizes}
        for name, value in given.items():
            setattr(params, name, DTYPES[value] if isinstance(value, torch.dtype) else value)
        self.library.conv3d_parts.restype = ctypes.c_longlong
        return int(self.library.conv3d_parts(ctypes.byref(params)))

    def tensor(self, *arguments: object, **options: object) -> Tensor:
        """`guarded`."""
        return guarded(*arguments, **options)  # type: ignore[arg-type]

    def compare(self, name: str, value: Tensor, exact: Tensor, same_dtype: Tensor) -> None:
        """`assert_as_good_as_torch` with the floor of the dtype."""
        assert_as_good_as_torch(name, value, exact, same_dtype, FLOORS[same_dtype.dtype])

    def run(self, op: str, **fields: object) -> None:
        """As `status`, and the status must be 0."""
        code, detail = self.status(op, **fields)
        assert code == 0, f"{op}: status {code}, {detail}"


def guarded(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    channels_last: bool = False,
    offset: int = 0,
    values: Tensor | None = None,
) -> Tensor:
    """A tensor with NaN before and behind it, itself NaN or `values`.

    Args:
        shape: [B, C, N] for activations.
        channels_last: C is the fast axis.
        offset: elements by which its start misses a 64-byte boundary.
    """
    if channels_last:
        batch, channels, voxels = shape
        inner = guarded((batch, voxels, channels), dtype, offset=offset)
        view = inner.transpose(1, 2)
        view.guard = inner.guard  # type: ignore[attr-defined]
    else:
        count = torch.Size(shape).numel()
        integer = not dtype.is_floating_point
        fill = -1 if integer else float("nan")
        memory = torch.full((count + 3 * GUARD,), fill, dtype=dtype)
        start = GUARD + -(memory.data_ptr() // memory.element_size() + GUARD) % GUARD + offset
        view = memory[start : start + count].view(shape)
        view.guard = (memory, start, count)  # type: ignore[attr-defined]
    if values is not None:
        view.copy_(values)
    return view


def check_guards(tensor: Tensor) -> None:
    guard = getattr(tensor, "guard", None)
    if guard is None:
        return
    memory, start, count = guard
    outside = torch.cat((memory[:start], memory[start + count :]))
    if memory.dtype.is_floating_point:
        assert outside.isnan().all(), "written outside of a tensor"
    else:
        assert (outside == -1).all(), "written outside of a tensor"


def assert_as_good_as_torch(
    name: str, value: Tensor, exact: Tensor, same_dtype: Tensor, floor: float
) -> None:
    """Error (relative, of the norm) at most twice that of torch in the same dtype, plus a floor.

    Args:
        exact: by the reference in float64.
        same_dtype: by the reference in the dtype under test.
        floor: relative error that is always allowed.
    """
    assert value.shape == exact.shape
    assert torch.isfinite(value.double()).all(), f"{name} holds values that are not finite"
    size = exact.norm().clamp_min(1e-30)
    error = float((value.double() - exact).norm() / size)
    allowed = 2 * float((same_dtype.double() - exact).norm() / size) + floor
    assert error <= allowed, f"{name}: relative error {error:.2e} > {allowed:.2e}"


FLOORS = {torch.float32: 2e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


@pytest.fixture(scope="session")
def emulation_library(
    made_once: Callable[[str, Callable[[Path], object]], Path], repository: Path
) -> Path:
    """The kernels as a shared library, compiled with g++ once for all processes of the tests."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the emulated kernels with")
    folder = made_once("cuda_emulation", lambda out: compile_emulation(out, repository))
    return folder / LIBRARY


def compile_emulation(folder: Path, repository: Path) -> None:
    """All kernels into one library."""
    folder.mkdir()
    sources = [
        *sorted((repository / "csrc" / "cuda").glob("*.cu")),
        repository / "csrc" / "check.cpp",
        HERE / "cuda_emulation.cpp",
        HERE / "streams.cpp",
        HERE / "interface.cpp",
    ]
    options = ["-std=c++17", "-O2", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    options += ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]
    options += [f"-I{HERE / 'include'}", f"-I{repository / 'csrc' / 'include'}"]

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.name}.o"
        command = ["g++", *options, "-x", "c++", "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = [str(o) for o in pool.map(compile_one, sources)]
    subprocess.run(["g++", "-shared", *objects, "-o", str(folder / LIBRARY)], check=True)


@pytest.fixture
def emulation(emulation_library: Path) -> Emulation:
    return Emulation(emulation_library)
