"""The calls that are made exist in TensorRT's own Python bindings, with these arguments.

The bindings are a small wheel without the libraries. Stand-in libraries with the nine functions
they link to let them be imported, so that their names and signatures can be read; nothing is run.

    pip download --no-deps -d WHEELS tensorrt-cu12-bindings==11.4.0.106
    MRI2PET_TENSORRT_BINDINGS=WHEELS pytest tests/engines/test_tensorrt_contract.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
# Of each class: attributes (None), and methods with their arguments and what they return.
CONTRACT = {
    "Logger": {"__init__": (["min_severity"], "None")},
    "Builder": {
        "__init__": (["logger"], "None"),
        "create_network": (["flags"], "INetworkDefinition"),
        "create_builder_config": ([], "IBuilderConfig"),
        "build_serialized_network": (["network", "config"], "IHostMemory"),
    },
    "OnnxParser": {
        "__init__": (["network", "logger"], "None"),
        "parse_from_file": (["model"], "bool"),
        "num_errors": None,
        "get_error": (["index"], "IParserError"),
    },
    "ParserError": {"desc": ([], "str")},
    "IBuilderConfig": {
        "set_memory_pool_limit": (["pool", "pool_size"], "None"),
        "builder_optimization_level": None,
        "profiling_verbosity": None,
        "clear_flag": (["flag"], "None"),
        "create_timing_cache": (["serialized_timing_cache"], "ITimingCache"),
        "set_timing_cache": (["cache", "ignore_mismatch"], "bool"),
    },
    "ITimingCache": {"serialize": ([], "IHostMemory")},
    "Runtime": {
        "__init__": (["logger"], "None"),
        "deserialize_cuda_engine": (["serialized_engine"], "ICudaEngine"),
    },
    "ICudaEngine": {
        "num_io_tensors": None,
        "device_memory_size_v2": None,
        "get_tensor_name": (["index"], "str"),
        "get_tensor_mode": (["name"], "TensorIOMode"),
        "get_tensor_shape": (["name"], "Dims"),
        "get_tensor_dtype": (["name"], "DataType"),
        "create_execution_context": (["strategy"], "IExecutionContext"),
    },
    "IExecutionContext": {
        "set_tensor_address": (["name", "memory"], "bool"),
        "set_device_memory": (["memory", "size"], "None"),
        "infer_shapes": ([], "[str]"),
        "execute_async_v3": (["stream_handle"], "bool"),
    },
}
ENUMERATIONS = {
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "MemoryPoolType": "WORKSPACE",
    "ProfilingVerbosity": "DETAILED",
    "BuilderFlag": "TF32",
    "TensorIOMode": "INPUT",
    "DataType": "FLOAT",
    "ExecutionContextAllocationStrategy": "USER_MANAGED",
}
READ = """
import ctypes, importlib.util, json, sys
binding, *libraries = sys.argv[1:]
for library in libraries:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
spec = importlib.util.spec_from_file_location("tensorrt", binding)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
found = {}
for name in dir(module):
    kind = getattr(module, name)
    if isinstance(kind, type):
        members = {m: getattr(kind, m, None) for m in dir(kind)}
        found[name] = {m: getattr(v, "__doc__", None) or "" for m, v in members.items()}
json.dump(found, sys.stdout)
"""


def wheels() -> list[Path]:
    folder = os.environ.get("MRI2PET_TENSORRT_BINDINGS", "")
    python = f"-cp{sys.version_info.major}{sys.version_info.minor}-"
    return sorted(w for w in Path(folder).glob("*.whl") if python in w.name) if folder else []


@pytest.fixture(params=wheels() or [None], ids=lambda wheel: wheel.name if wheel else "none")
def bindings(request, tmp_path):
    """{class: {member: docstring}} of one wheel."""
    if request.param is None:
        pytest.skip("MRI2PET_TENSORRT_BINDINGS names no folder with wheels for this Python")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    with zipfile.ZipFile(request.param) as wheel:
        wheel.extractall(tmp_path)
    suffix = sysconfig.get_config_var("SHLIB_SUFFIX")
    (binding,) = tmp_path.glob(f"tensorrt*/tensorrt{suffix}")
    source = tmp_path / "libraries.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    libraries = sorted(
        set(
            re.findall(
                rb"lib(?:nvinfer|nvinfer_plugin|nvonnxparser)\.so\.\d+", binding.read_bytes()
            )
        )
    )
    made = []
    for name in (library.decode() for library in libraries):
        made.append(str(tmp_path / name))
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", made[-1], str(source)]
        subprocess.run(command, check=True)
    read = [sys.executable, "-c", READ, str(binding), *made]
    return json.loads(subprocess.run(read, check=True, capture_output=True).stdout)


def forms(docstring: str) -> list[tuple[list[str], str]]:
    """(argument names, returned type without its module) of each overload."""
    found = []
    for arguments, returned in re.findall(r"\w+\(self: [\w.]+(.*)\) -> (.+)", docstring):
        names = re.findall(r", (\w+): ", arguments)
        found.append((names, re.sub(r"[A-Za-z_]+(?:\.|::)|[Ll]ist(?=\[)", "", returned.strip())))
    return found


@pytest.mark.parametrize("kind", CONTRACT)
def test_members(bindings, kind):
    for member, form in CONTRACT[kind].items():
        assert member in bindings[kind], f"{kind}.{member} is gone"
        if form is not None:
            assert form in forms(bindings[kind][member]), bindings[kind][member]


def test_enumerations(bindings):
    for kind, member in ENUMERATIONS.items():
        assert member in bindings[kind]


def test_the_contract_holds_every_call(fake, tmp_path):
    """What the stand-in of the other tests offers is what the contract asks of the real ones."""
    from mri2pet.engines import tensorrt_calls

    source = Path(tensorrt_calls.__file__).read_text()
    called = set(
        re.findall(r"(?:builder|config|parser|runtime|engine|context|cache)\.(\w+)", source)
    )
    called |= set(re.findall(r"\)\.(desc)\(", source))
    members = {member for kind in CONTRACT.values() for member in kind}
    assert called == members - {"__init__"}
    used = set(re.findall(r"tensorrt\.([A-Z]\w+)\.([A-Z]\w+)", source)) - {("Logger", "WARNING")}
    assert used == set(ENUMERATIONS.items())
