"""What the installed package says of its own build, and what it must not carry."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mri2pet
from mri2pet import build
from mri2pet.cli.info import info
from mri2pet.engines import available

native = pytest.importorskip(
    "mri2pet._C", reason="no native module here: this is a checkout, not an installed package"
)


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def run_tool(*command: str) -> str:
    return subprocess.run(
        [*command, native.__file__], check=True, capture_output=True, text=True
    ).stdout


def test_one_version_everywhere():
    assert native.build_info()["version"] == mri2pet.__version__ == metadata.version("mri2pet")


def test_build_info_names_revision_and_compiler():
    facts = native.build_info()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", facts["revision"])
    assert re.fullmatch(r"\w+ [0-9.]+", facts["compiler"])
    assert facts["build_type"] == "Release"


def test_cuda_architectures_are_named_and_keep_ptx():
    cuda = native.build_info()["cuda"]
    if cuda["enabled"]:
        assert cuda["architectures"] == ["80-real", "86-real", "89-real", "90"]
        assert cuda["version"]
    else:
        assert cuda["architectures"] == []
        assert cuda["status"], "CUDA is off without a reason"


def test_native_module_needs_no_torch():
    loaded = run_python("import sys, mri2pet._C; print('torch' in sys.modules)")
    assert loaded.strip() == "False"


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_native_module_has_no_torch_symbol():
    symbols = run_tool("nm", "-D", "-C")
    assert "PyInit__C" in symbols
    assert not re.findall(r"torch|c10|\bat::", symbols)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf, of binutils")
def test_native_module_links_neither_torch_nor_a_cuda_library():
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", run_tool("readelf", "-d"))
    assert any(name.startswith("libc.") for name in needed)
    assert not [name for name in needed if re.search(r"torch|c10|cuda|cudart", name)]


def test_import_is_cheap():
    heavy = "{'torch', 'numpy', 'ants', 'nilearn', 'scipy', 'matplotlib', 'pydantic'}"
    assert run_python(f"import sys, mri2pet; print(set(sys.modules) & {heavy})").strip() == "set()"


@pytest.mark.parametrize("command", ["mri2pet", "mri2pet-bench"])
def test_console_command_can_be_loaded(command: str):
    (entry,) = metadata.entry_points(group="console_scripts", name=command)
    assert callable(entry.load())


def test_native_build_gives_the_reason_where_it_is_not_built(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mri2pet._C", None)
    facts = build.native_build()
    assert not facts["built"]
    assert facts["revision"] is None
    assert "pip install" in facts["reason"]


def test_info_json_is_the_description(capsys: pytest.CaptureFixture[str]):
    info(as_json=True)
    tree = json.loads(capsys.readouterr().out)
    assert tree["native"] == build.native_build()
    assert tree["native"]["built"]
    assert tree["version"] == mri2pet.__version__
    assert {k: tree["devices"][0][k] for k in ("name", "works")} == {"name": "cpu", "works": True}


def test_info_says_what_does_not_work_and_why(capsys: pytest.CaptureFixture[str]):
    info(as_json=False)
    printed = capsys.readouterr().out
    for row in [*available.devices(), *available.engines()]:
        assert row["detail"], f"{row['name']} without a detail or a reason"
        assert re.search(rf"{row['name']}\s.*{re.escape(row['detail'])}", printed)
    assert mri2pet.WARNING in printed


def test_devices_and_torch_agree():
    import torch

    cards = [row for row in available.devices() if row["name"].startswith("cuda") and row["works"]]
    assert len(cards) == torch.cuda.device_count()


def test_package_data_is_installed():
    package = Path(mri2pet.__file__).parent
    assert (package / "presets" / "paper.json").is_file()
    assert (package / "presets" / "compact.json").is_file()
